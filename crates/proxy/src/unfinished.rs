//! Memory of handshakes that are not finished: whoever caused it has not shown who he is.
//!
//! A client may send as much as `--max-handshake-bytes` and then nothing until its time is up, on as
//! many connections as there may be. So all unfinished handshakes of a core share a bound. While they
//! are above it, those with more than an equal share are closed: clients that send a hello of
//! the usual size get through meanwhile. As one below its share adds no more than that share, they never
//! hold more than twice the bound.

/// The unfinished handshakes of a core.
#[derive(Debug)]
pub struct Unfinished {
    most: usize,
    handshakes: usize,
    bytes: usize,
}

/// What one of them has received, until it [ends](Unfinished::end).
#[derive(Debug, Default)]
pub struct Held(usize);

impl Unfinished {
    /// None, which may receive `most` bytes together.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            handshakes: 0,
            bytes: 0,
        }
    }

    /// They may receive `most` bytes together from now on.
    pub fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// Another one begins.
    pub fn begin(&mut self) -> Held {
        self.handshakes += 1;
        Held(0)
    }

    /// One has received `bytes`.
    pub fn add(&mut self, held: &mut Held, bytes: usize) {
        held.0 += bytes;
        self.bytes += bytes;
    }

    /// One is finished, or its memory free.
    pub fn end(&mut self, held: Held) {
        self.handshakes -= 1;
        self.bytes -= held.0;
    }

    /// Whether there is too much, and one that holds so much is among those to go.
    pub fn is_too_much(&self, held: &Held) -> bool {
        self.bytes > self.most && held.0 > self.most / self.handshakes.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_more_than_its_share_goes_when_there_is_too_much() {
        let mut all = Unfinished::new(1000);
        let (mut large, mut small) = (all.begin(), all.begin());
        all.add(&mut large, 900);
        all.add(&mut small, 100);
        assert!(!all.is_too_much(&large) && !all.is_too_much(&small));
        all.add(&mut small, 1);
        assert!(all.is_too_much(&large) && !all.is_too_much(&small));
        all.end(large);
        assert!(!all.is_too_much(&small));
        all.end(small);
        assert_eq!((all.handshakes, all.bytes), (0, 0));
    }

    #[test]
    fn hellos_get_through_however_much_others_hoard_and_all_is_bounded() {
        let mut all = Unfinished::new(64 << 20);
        let mut kept = Vec::new();
        for _ in 0..16_384 {
            let mut hoarder = all.begin();
            while hoarder.0 < 65_536 && !all.is_too_much(&hoarder) {
                all.add(&mut hoarder, 1024);
            }
            match all.is_too_much(&hoarder) {
                true => all.end(hoarder),
                false => kept.push(hoarder),
            }
            assert!(all.bytes <= 128 << 20);
        }
        let mut honest = all.begin();
        all.add(&mut honest, 1800);
        assert!(!all.is_too_much(&honest));
    }
}
