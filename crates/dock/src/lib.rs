//! The agent on a storage host: brings what is there to what is wished for.
