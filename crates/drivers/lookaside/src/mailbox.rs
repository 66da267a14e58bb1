//! What threads hand to each other once in a while: ports on their way to a crypto core and home.

use std::sync::PoisonError;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// A box that any thread posts to and one thread empties. Looking into an empty one costs a
/// load, no lock.
pub(crate) struct Mailbox<T> {
    /// There is mail. Only a hint: what counts is under the lock, which orders everything.
    flag: AtomicBool,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    mail: Vec<T>,
    closed: bool,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self {
            flag: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                mail: Vec::new(),
                closed: false,
            }),
        }
    }

    /// Posts `mail`.
    ///
    /// # Errors
    /// The box is closed; the mail is given back.
    pub(crate) fn post(&self, mail: T) -> Result<(), T> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(mail);
        }
        inner.mail.push(mail);
        // Relaxed: whoever sees it takes the lock before it looks further.
        self.flag.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Moves what was posted to the end of `to`.
    #[inline]
    pub(crate) fn take(&self, to: &mut Vec<T>) {
        if self.flag.load(Ordering::Relaxed) {
            let mut inner = self.lock();
            self.flag.store(false, Ordering::Relaxed);
            to.append(&mut inner.mail);
        }
    }

    /// Takes what was posted; nothing can be posted from here on. So everything posted is taken
    /// or given back.
    pub(crate) fn close(&self, to: &mut Vec<T>) {
        let mut inner = self.lock();
        inner.closed = true;
        to.append(&mut inner.mail);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// No code that can panic runs under the lock, so poison means nothing.
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn mail_is_taken_once_and_in_order() {
        let (mailbox, mut taken) = (Mailbox::new(), Vec::new());
        mailbox.take(&mut taken);
        assert!(taken.is_empty());
        assert_eq!((mailbox.post(1), mailbox.post(2)), (Ok(()), Ok(())));
        mailbox.take(&mut taken);
        mailbox.take(&mut taken);
        assert_eq!(taken, [1, 2]);
    }

    #[test]
    fn a_closed_box_gives_the_mail_back() {
        let (mailbox, mut taken) = (Mailbox::new(), Vec::new());
        assert_eq!(mailbox.post(1), Ok(()));
        mailbox.close(&mut taken);
        assert_eq!((taken.as_slice(), mailbox.post(2)), (&[1][..], Err(2)));
        assert!(mailbox.is_closed());
    }
}

/// The protocol of attaching and stopping, in every interleaving: `make loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;
    use spinlane_ring::{Consumer, ring};

    use super::*;

    /// A post beside a close: the mail is taken or given back, never both, never neither.
    #[test]
    fn post_beside_close() {
        loom::model(|| {
            let mailbox = Arc::new(Mailbox::new());
            let poster = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || mailbox.post(7).is_err())
            };
            let mut taken = Vec::new();
            mailbox.take(&mut taken);
            mailbox.close(&mut taken);
            let given_back = poster.join().unwrap();
            assert_eq!(taken.len() + usize::from(given_back), 1);
        });
    }

    /// A client attaches and submits while the core stops: its op is served, or is in the port
    /// that comes home, or the port was never accepted.
    #[test]
    fn an_op_submitted_while_the_core_stops() {
        type Attach = (Consumer<u32>, Arc<Mailbox<Consumer<u32>>>);
        loom::model(|| {
            let inbox = Arc::new(Mailbox::<Attach>::new());
            let core = {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    let (mut ports, mut served) = (Vec::new(), 0);
                    inbox.take(&mut ports);
                    for (port, _) in &mut ports {
                        served += port.pop_burst(1).count();
                    }
                    inbox.close(&mut ports);
                    for (port, home) in ports {
                        assert!(home.post(port).is_ok(), "nobody closes a home");
                    }
                    served
                })
            };
            let (mut submissions, port) = ring(2).unwrap();
            let home = Arc::new(Mailbox::new());
            let attached = inbox.post((port, Arc::clone(&home))).is_ok();
            submissions.push(7).unwrap();
            let served = core.join().unwrap();
            let mut returned = Vec::new();
            home.take(&mut returned);
            let stranded: usize = returned
                .iter_mut()
                .map(|port| port.pop_burst(2).count())
                .sum();
            assert_eq!(served + stranded, usize::from(attached));
        });
    }
}
