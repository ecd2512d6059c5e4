//! What may happen next to a volume and its attachments, as pure functions.
