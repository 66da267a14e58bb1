//! What crosses crates: flow, conformance, faults, interop.
