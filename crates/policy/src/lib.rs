//! Who may do what: rules in the language of OpenStack's `policy.json` (oslo.policy).
//!
//! A [`Policy`] maps names to checks. Some names are actions of the API (`volume:create`), others are
//! rules that actions refer to (`rule:admin_api`). [`Policy::allows`] is pure: the caller's proven
//! facts and the addressed tenant go in, yes or no comes out. What a file says wrong is found when it
//! is read, never at a request: a malformed check or a circle of rules refuses the file, and what can
//! only ever answer "no" (a rule or an attribute that does not exist) is told as a [`Warning`].
//!
//! Source: the oslo.policy documentation, "Policy rule expressions"; an action without a rule is
//! refused, as the original does, and not handed to a rule named `default`.

mod action;
mod check;
mod parse;

/// The rule that says who is an administrator.
const ADMIN_RULE: &str = "admin_api";

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

pub use action::Action;
use check::Check;
pub use check::{Subject, Target};

/// The rules of one file, or the built-in ones.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: BTreeMap<String, Check>,
}

/// Why a policy file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not a JSON object.
    #[error("the policy is not a JSON object: {0}")]
    NotAnObject(String),
    /// A rule is neither a text nor a list of lists of texts.
    #[error("rule \"{0}\" is neither a text nor a list of lists of texts")]
    NotACheck(String),
    /// The text of a rule does not follow the grammar.
    #[error("rule \"{rule}\": {problem}")]
    Malformed {
        /// Its name.
        rule: String,
        /// What is wrong with it, and where.
        problem: String,
    },
    /// Rules refer to each other in a circle.
    #[error("these rules refer to each other in a circle: {}", .0.join(" -> "))]
    Circle(Vec<String>),
}

/// Something in a policy that can never say yes, and is probably a slip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A check refers to a rule that is not in the file.
    NoSuchRule {
        /// Where.
        rule: String,
        /// The rule that is missing.
        missing: String,
    },
    /// A check asks for something that callers or targets do not have.
    NoSuchAttribute {
        /// Where.
        rule: String,
        /// What it asks for.
        missing: String,
    },
    /// An action of the API has no rule: nobody may do it.
    NoRule(Action),
    /// There is no rule that says who is an administrator.
    NoAdministrators,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchRule { rule, missing } => {
                write!(f, "rule \"{rule}\" refers to \"{missing}\", which is not in the policy")
            }
            Self::NoSuchAttribute { rule, missing } => {
                write!(f, "rule \"{rule}\" asks for \"{missing}\", which no request has")
            }
            Self::NoRule(action) => write!(f, "no rule for \"{action}\": nobody may do it"),
            Self::NoAdministrators => {
                write!(f, "no rule \"{ADMIN_RULE}\": nobody sees what belongs to other tenants")
            }
        }
    }
}

impl Policy {
    /// Reads a `policy.json`.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with the rule's name.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let file: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(json).map_err(|e| PolicyError::NotAnObject(e.to_string()))?;
        let mut rules = BTreeMap::new();
        for (name, value) in file {
            let check = parse::rule(&name, &value)?;
            rules.insert(name, check);
        }
        let policy = Self { rules };
        policy.refuse_circles()?;
        Ok(policy)
    }

    /// The original's own rules, for those who have no file: everything of a tenant for the tenant's
    /// users, docks, pools and profile changes for administrators, reading profiles for everybody.
    #[must_use]
    pub fn built_in() -> Self {
        let mut rules = BTreeMap::new();
        for (name, text) in action::BUILT_IN_RULES {
            rules.insert((*name).to_owned(), parse::expression(text).expect("a tested constant"));
        }
        for action in Action::ALL {
            let text = action.built_in();
            let check = parse::expression(text).expect("a tested constant");
            rules.insert(action.as_str().to_owned(), check);
        }
        Self { rules }
    }

    /// Whether somebody may do something to what belongs to a tenant. An action without a rule may
    /// be done by nobody.
    #[must_use]
    pub fn allows(&self, action: Action, subject: &Subject<'_>, target: &Target<'_>) -> bool {
        self.rules.get(action.as_str()).is_some_and(|check| check.holds(self, subject, target))
    }

    /// Whether somebody is an administrator, who sees what belongs to every tenant: the rule
    /// `admin_api` says so, and nobody is one without it.
    #[must_use]
    pub fn is_admin(&self, subject: &Subject<'_>, target: &Target<'_>) -> bool {
        self.rules.get(ADMIN_RULE).is_some_and(|check| check.holds(self, subject, target))
    }

    /// What can never say yes; to be logged when the policy is read.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (name, check) in &self.rules {
            check.visit(&mut |part| match part {
                Check::Rule(missing) if !self.rules.contains_key(missing) => {
                    warnings
                        .push(Warning::NoSuchRule { rule: name.clone(), missing: missing.clone() });
                }
                other => {
                    if let Some(missing) = other.asks_in_vain() {
                        warnings.push(Warning::NoSuchAttribute { rule: name.clone(), missing });
                    }
                }
            });
        }
        let missing = Action::ALL.iter().filter(|action| !self.rules.contains_key(action.as_str()));
        warnings.extend(missing.map(|action| Warning::NoRule(*action)));
        if !self.rules.contains_key(ADMIN_RULE) {
            warnings.push(Warning::NoAdministrators);
        }
        warnings
    }

    fn rule(&self, name: &str) -> Option<&Check> {
        self.rules.get(name)
    }

    /// Walks every chain of references once. A circle would make a request recurse for ever.
    fn refuse_circles(&self) -> Result<(), PolicyError> {
        let mut state = BTreeMap::new();
        for name in self.rules.keys() {
            let mut path = Vec::new();
            self.walk(name, &mut state, &mut path)?;
        }
        Ok(())
    }

    fn walk<'a>(
        &'a self,
        name: &'a str,
        state: &mut BTreeMap<&'a str, Walked>,
        path: &mut Vec<&'a str>,
    ) -> Result<(), PolicyError> {
        match state.entry(name) {
            Entry::Occupied(entry) => match entry.get() {
                Walked::Done => return Ok(()),
                Walked::Under => {
                    let from = path.iter().position(|on| *on == name).unwrap_or(0);
                    let mut circle: Vec<_> = path[from..].iter().map(ToString::to_string).collect();
                    circle.push(name.to_owned());
                    return Err(PolicyError::Circle(circle));
                }
            },
            Entry::Vacant(entry) => {
                entry.insert(Walked::Under);
            }
        }
        path.push(name);
        let mut next = Vec::new();
        if let Some(check) = self.rules.get(name) {
            check.visit(&mut |part| {
                if let Check::Rule(other) = part {
                    next.push(other.as_str());
                }
            });
        }
        for other in next {
            self.walk(other, state, path)?;
        }
        path.pop();
        state.insert(name, Walked::Done);
        Ok(())
    }
}

/// How far the search for circles is with a rule.
enum Walked {
    Under,
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Subject<'static> = Subject {
        user_id: "u1",
        tenant_id: "t1",
        roles: &[],
        is_admin: false,
        is_admin_project: false,
    };

    fn roles(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn one(text: &str) -> Policy {
        let json = serde_json::json!({ "volume:get": text }).to_string();
        Policy::parse(&json).unwrap()
    }

    fn holds(text: &str, subject: &Subject<'_>) -> bool {
        one(text).allows(Action::VolumeGet, subject, &Target { tenant_id: "t1", user_id: "" })
    }

    #[test]
    fn the_built_in_rules_are_the_originals() {
        let policy = Policy::built_in();
        assert_eq!(policy.warnings(), []);
        let own = Target { tenant_id: "t1", user_id: "" };
        let other = Target { tenant_id: "t2", user_id: "" };
        assert!(policy.allows(Action::VolumeCreate, &PLAIN, &own));
        assert!(!policy.allows(Action::VolumeCreate, &PLAIN, &other));
        assert!(policy.allows(Action::ProfileList, &PLAIN, &other));
        assert!(!policy.allows(Action::ProfileCreate, &PLAIN, &own));
        assert!(!policy.allows(Action::PoolList, &PLAIN, &own));
        let admins = roles(&["Admin"]);
        let elsewhere = Subject { roles: &admins, ..PLAIN };
        assert!(!policy.allows(Action::PoolList, &elsewhere, &own), "not in the admin project");
        let admin = Subject { roles: &admins, is_admin_project: true, ..PLAIN };
        assert!(policy.allows(Action::PoolList, &admin, &own));
        assert!(policy.allows(Action::VolumeDelete, &admin, &other));
        // Who may do all that a tenant may is not yet one who sees every tenant.
        assert!(policy.allows(Action::VolumeList, &elsewhere, &own));
        assert!(!policy.is_admin(&elsewhere, &own) && policy.is_admin(&admin, &own));
        assert!(!one("role:admin").is_admin(&admin, &own), "no rule, no administrator");
    }

    #[test]
    fn words_and_their_order() {
        let operator = roles(&["operator"]);
        let subject = Subject { roles: &operator, ..PLAIN };
        assert!(holds("", &subject));
        assert!(holds("@", &subject));
        assert!(!holds("!", &subject));
        assert!(holds("role:OPERATOR", &subject), "roles are compared without case");
        assert!(holds("not role:admin", &subject));
        assert!(holds("role:operator or role:x and role:y", &subject), "and binds tighter");
        assert!(!holds("(role:operator or role:x) and role:y", &subject));
        assert!(!holds("not (role:operator or role:x)", &subject));
        assert!(holds("not role:x and role:operator", &subject), "not binds tightest");
        assert!(holds("NOT role:x AND role:operator", &subject), "words in any case");
        assert!(holds("tenant_id:%(tenant_id)s", &subject));
        assert!(holds("project_id:%(tenant_id)s", &subject));
        assert!(holds("user_id:u1", &subject));
        assert!(!holds("user_id:%(user_id)s", &subject), "nobody owns the target");
        assert!(holds("'t1':%(tenant_id)s", &subject));
        assert!(holds("True:True", &subject));
        assert!(!holds("is_admin:True", &subject));
        assert!(holds("is_admin:False", &subject));
    }

    #[test]
    fn lists_of_lists_are_or_of_ands() {
        let json = r#"{"volume:get": [["role:a", "role:b"], ["role:c"]], "volume:list": [], "dock:get": [[]], "dock:list": [[], "role:c"]}"#;
        let policy = Policy::parse(json).unwrap();
        let target = Target { tenant_id: "t1", user_id: "" };
        for (names, expected) in [(vec!["a"], false), (vec!["a", "b"], true), (vec!["c"], true)] {
            let names = roles(&names);
            let subject = Subject { roles: &names, ..PLAIN };
            assert_eq!(policy.allows(Action::VolumeGet, &subject, &target), expected, "{names:?}");
        }
        assert!(policy.allows(Action::VolumeList, &PLAIN, &target), "an empty list is no demand");
        // As oslo.policy has it: a list of nothing but empty lists is nobody's.
        assert!(!policy.allows(Action::DockGet, &PLAIN, &target), "none of no ways");
        let names = roles(&["c"]);
        let subject = Subject { roles: &names, ..PLAIN };
        assert!(policy.allows(Action::DockList, &subject, &target), "a bare text is a list of one");
        assert!(!policy.allows(Action::DockList, &PLAIN, &target));
    }

    #[test]
    fn what_a_file_says_wrong_is_found_when_it_is_read() {
        let refused = |json: &str| Policy::parse(json).unwrap_err().to_string();
        assert!(refused("[]").starts_with("the policy is not a JSON object"));
        assert_eq!(
            refused(r#"{"a": 5}"#),
            r#"rule "a" is neither a text nor a list of lists of texts"#
        );
        for text in [
            "role:a or",
            "and role:a",
            "(role:a",
            "role:a)",
            "role",
            "role:a role:b",
            "not",
            "()",
            ":x",
            "not http://decider/%(tenant_id)s",
            "https:x",
            "not tenant_id:a-%(tenant_id)s",
        ] {
            let json = serde_json::json!({ "a": text }).to_string();
            assert!(refused(&json).starts_with(r#"rule "a": "#), "{text}");
        }
        assert_eq!(
            refused(r#"{"a":"rule:b","b":"not rule:c","c":"role:x or rule:a"}"#),
            "these rules refer to each other in a circle: a -> b -> c -> a"
        );
        assert_eq!(
            refused(r#"{"a":"rule:a"}"#),
            "these rules refer to each other in a circle: a -> a"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}role:a{}", "(".repeat(10_000), ")".repeat(10_000));
        let json = serde_json::json!({ "a": deep }).to_string();
        assert!(Policy::parse(&json).unwrap_err().to_string().contains("nested"));
        let nots = format!("{}role:a", "not ".repeat(10_000));
        let json = serde_json::json!({ "a": nots }).to_string();
        assert!(Policy::parse(&json).is_err());
    }

    #[test]
    fn what_can_never_hold_is_warned_of() {
        let policy = Policy::parse(
            r#"{"volume:get":"rule:gone or group:x","volume:list":"user_id:%(colour)s"}"#,
        )
        .unwrap();
        let said: Vec<_> = policy.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            said[..3],
            [
                r#"rule "volume:get" refers to "gone", which is not in the policy"#,
                r#"rule "volume:get" asks for "group", which no request has"#,
                r#"rule "volume:list" asks for "%(colour)s", which no request has"#,
            ]
        );
        assert!(said.contains(&r#"no rule for "volume:create": nobody may do it"#.to_owned()));
        let target = Target { tenant_id: "t1", user_id: "" };
        assert!(!policy.allows(Action::VolumeGet, &PLAIN, &target));
        assert!(!policy.allows(Action::VolumeCreate, &PLAIN, &target), "no rule, no right");
    }
}
