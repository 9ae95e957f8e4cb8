//! What is to be said about an object's fields?

/// All that is to be said about an object's fields.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What the API server would refuse the object for.
    pub(super) refusals: Vec<Finding>,
    /// What has no effect, in an object that is in force otherwise.
    pub(super) remarks: Vec<Finding>,
}

/// What is to be said about a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Its path, as `spec.ports[0].port`; empty = the whole object.
    pub(super) field: String,
    /// What is wrong and what to do, as a sentence.
    pub(super) why: String,
}

impl Finding {
    /// A finding about a field.
    pub(super) fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

impl Findings {
    /// The object cannot be in force because of this field.
    pub(super) fn refuse(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.refusals.push(Finding::new(field, why));
    }

    /// The field has no effect.
    pub(super) fn remark(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.remarks.push(Finding::new(field, why));
    }
}
