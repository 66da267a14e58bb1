//! Pinned poll core: polls queue pairs, calls back inline, keeps ready and retry queues.
