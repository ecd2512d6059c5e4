//! One check as a tree, and its evaluation.
//!
//! Evaluation borrows and allocates nothing. It ends because `Policy::parse` refuses circles and
//! the parser bounds the depth.

use crate::Policy;

/// What is proven about whoever asks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Keystone user, or empty.
    pub user_id: &'a str,
    /// The tenant (project) that the token is for.
    pub tenant_id: &'a str,
    /// Role names.
    pub roles: &'a [String],
    /// Known to be an administrator before any rule is asked.
    pub is_admin: bool,
    /// The token is for the administrators' project.
    pub is_admin_project: bool,
}

impl Subject<'_> {
    /// The attributes that checks may ask for, as text. `None`: there is no such attribute.
    fn attribute(&self, name: &str) -> Option<&str> {
        let word = |truth: bool| if truth { "True" } else { "False" };
        match name {
            "user_id" => Some(self.user_id),
            "tenant_id" | "project_id" => Some(self.tenant_id),
            "is_admin" => Some(word(self.is_admin)),
            "is_admin_project" => Some(word(self.is_admin_project)),
            _ => None,
        }
    }
}

/// What the request is about.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The tenant that it names.
    pub tenant_id: &'a str,
    /// The user that owns it; empty where that is not known.
    pub user_id: &'a str,
}

impl<'a> Target<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        let known = match name {
            "tenant_id" | "project_id" => self.tenant_id,
            "user_id" => self.user_id,
            _ => return None,
        };
        // An empty owner is no owner: an anonymous caller must not be taken for it.
        (!known.is_empty()).then_some(known)
    }
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// A text as it stands.
    Literal(String),
    /// `%(name)s`: a field of the target.
    OfTarget(String),
}

impl Term {
    fn value<'a>(&'a self, target: &Target<'a>) -> Option<&'a str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::OfTarget(name) => target.field(name),
        }
    }
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// `@`, the empty text: always.
    Always,
    /// `!`: never.
    Never,
    /// Not this.
    Not(Box<Check>),
    /// Every one of these.
    All(Vec<Check>),
    /// At least one of these.
    Any(Vec<Check>),
    /// `rule:name`.
    Rule(String),
    /// `role:name`, compared without case.
    Role(Term),
    /// `attribute:value` of the caller.
    Attribute(String, Term),
    /// `'text':value`: a constant compared with a field of the target.
    Constant(String, Term),
}

impl Check {
    /// Whether it holds.
    pub fn holds(&self, policy: &Policy, subject: &Subject<'_>, target: &Target<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Not(check) => !check.holds(policy, subject, target),
            Self::All(checks) => checks.iter().all(|check| check.holds(policy, subject, target)),
            Self::Any(checks) => checks.iter().any(|check| check.holds(policy, subject, target)),
            Self::Rule(name) => {
                policy.rule(name).is_some_and(|check| check.holds(policy, subject, target))
            }
            Self::Role(term) => term
                .value(target)
                .is_some_and(|role| subject.roles.iter().any(|has| same_role(has, role))),
            Self::Attribute(name, term) => {
                let wanted = term.value(target);
                wanted.is_some() && subject.attribute(name) == wanted
            }
            Self::Constant(text, term) => term.value(target) == Some(text),
        }
    }

    /// Calls `seen` with this check and all below it.
    pub fn visit<'a>(&'a self, seen: &mut impl FnMut(&'a Check)) {
        seen(self);
        match self {
            Self::Not(check) => check.visit(seen),
            Self::All(checks) | Self::Any(checks) => {
                checks.iter().for_each(|check| check.visit(seen));
            }
            Self::Always
            | Self::Never
            | Self::Rule(_)
            | Self::Role(_)
            | Self::Attribute(..)
            | Self::Constant(..) => {}
        }
    }

    /// An attribute or field that no request has, so that this check never holds.
    pub fn asks_in_vain(&self) -> Option<String> {
        let nobody = Subject {
            user_id: "",
            tenant_id: "",
            roles: &[],
            is_admin: false,
            is_admin_project: false,
        };
        let nothing = Target { tenant_id: "-", user_id: "-" };
        let unknown_field = |term: &Term| match term {
            Term::OfTarget(name) if nothing.field(name).is_none() => Some(format!("%({name})s")),
            Term::OfTarget(_) | Term::Literal(_) => None,
        };
        match self {
            Self::Attribute(name, _) if nobody.attribute(name).is_none() => Some(name.clone()),
            Self::Attribute(_, term) | Self::Constant(_, term) | Self::Role(term) => {
                unknown_field(term)
            }
            Self::Always
            | Self::Never
            | Self::Not(_)
            | Self::All(_)
            | Self::Any(_)
            | Self::Rule(_) => None,
        }
    }
}

fn same_role(one: &str, other: &str) -> bool {
    one.chars().flat_map(char::to_lowercase).eq(other.chars().flat_map(char::to_lowercase))
}
