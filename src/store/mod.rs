//! One file per store kind: recognise it by content, check it, say what may
//! be done. Nothing here writes.
