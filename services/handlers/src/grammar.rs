//! `grammar`: checks English text and says what it would change.
