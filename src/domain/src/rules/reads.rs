//! What a rule reads beside its policy and what everyone may see of a request: whoever judges has to
//! have it.

use super::eval::{FoldKind, Node};
use super::facts::{IntField, MapField, TextField};

/// What a rule reads that is not in every record of a request, nor in a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// What the tenant has.
    pub tenant: bool,
    /// The time.
    pub now: bool,
    /// Values of the environment; its keys are not meant.
    pub env: bool,
    /// Standard input.
    pub stdin: bool,
}

impl Reads {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            tenant: self.tenant || other.tenant,
            now: self.now || other.now,
            env: self.env || other.env,
            stdin: self.stdin || other.stdin,
        }
    }
}

pub(super) fn of(node: &Node) -> Reads {
    let all = |nodes: &[Node]| nodes.iter().map(of).fold(Reads::default(), Reads::and);
    match node {
        Node::Now => Reads { now: true, ..Reads::default() },
        Node::IntField(field) => Reads { tenant: is_of_tenant(*field), ..Reads::default() },
        Node::TextField(field) => Reads { stdin: *field == TextField::Stdin, ..Reads::default() },
        Node::Get(map, _) => Reads { env: *map == MapField::Env, ..Reads::default() },
        Node::Lookup(map, key) => {
            of(key).and(Reads { env: *map == MapField::Env, ..Reads::default() })
        }
        Node::Bool(_)
        | Node::Int(_)
        | Node::Text(_)
        | Node::KeepOutput
        | Node::Command
        | Node::Item
        | Node::Has(_)
        | Node::Keys(_)
        | Node::Count(_) => Reads::default(),
        Node::HasKey(_, of_node)
        | Node::Not(of_node)
        | Node::Negate(of_node)
        | Node::Size(of_node)
        | Node::Part(_, of_node)
        | Node::Seconds(of_node) => of(of_node),
        Node::And(both)
        | Node::Or(both)
        | Node::Arithmetic(_, both)
        | Node::Join(both)
        | Node::Compare(_, both)
        | Node::InList(both)
        | Node::At(both)
        | Node::Find(_, both) => all(&both[..]),
        Node::If(three) => all(&three[..]),
        Node::List(items) => all(items),
        Node::Fold(fold) => {
            let only = match &fold.kind {
                FoldKind::Map { only: Some(only) } => of(only),
                FoldKind::Map { only: None }
                | FoldKind::All
                | FoldKind::Exists
                | FoldKind::ExistsOne => Reads::default(),
            };
            of(&fold.over).and(of(&fold.body)).and(only)
        }
    }
}

fn is_of_tenant(field: IntField) -> bool {
    match field {
        IntField::TenantRunning
        | IntField::TenantPending
        | IntField::TenantCpuMilli
        | IntField::TenantMemMb
        | IntField::TenantGpu => true,
        IntField::CpuMilli
        | IntField::MemMb
        | IntField::Gpu
        | IntField::TtlMs
        | IntField::Priority
        | IntField::MaxAttempts
        | IntField::BackoffMs
        | IntField::MaxAgeMs
        | IntField::PolicyVersion
        | IntField::LimitCpuMilli
        | IntField::LimitMemMb
        | IntField::LimitGpu
        | IntField::LimitTtlMs => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::Reads;

    #[test]
    fn a_rule_is_known_to_read_the_tenant_and_the_time_wherever_it_names_them() {
        for (when, tenant, now) in [
            ("request.priority > 5", false, false),
            ("tenant.name == \"acme\"", false, false),
            ("tenant.running > 5", true, false),
            ("1 + tenant.gpu == 2", true, false),
            ("now.getHours() < 6", false, true),
            ("request.priority > 5 ? tenant.pending > 1 : now.getHours() == 3", true, true),
            ("request.command.exists(c, size(c) > tenant.mem_mb)", true, false),
            ("[1, tenant.running].exists(n, n == now.getMinutes())", true, true),
            ("!(request.metadata.a == \"b\" && tenant.cpu_milli == 0)", true, false),
        ] {
            let program = compile(when).unwrap_or_else(|error| panic!("{when}: {error}"));
            assert_eq!(program.reads(), Reads { tenant, now, ..Reads::default() }, "{when}");
        }
    }

    #[test]
    fn a_rule_is_known_to_read_secrets_wherever_it_does() {
        for (when, env, stdin) in [
            ("request.env.LANG == \"C\"", true, false),
            ("request.env[request.template] == \"C\"", true, false),
            ("request.labels[request.env.A] == \"C\"", true, false),
            ("request.command.exists(c, c == request.env.A)", true, false),
            ("request.env.exists(k, request.env[k] == \"x\")", true, false),
            ("size(request.stdin) > 3", false, true),
            ("request.metadata[request.stdin] == \"\"", false, true),
            ("request.stdin == \"x\" || request.env.A == \"x\"", true, true),
            ("\"A\" in request.env && size(request.env) < 3", false, false),
            ("has(request.env.A) && request.env.all(k, k != \"B\")", false, false),
            ("request.metadata.env == request.template", false, false),
        ] {
            let program = compile(when).unwrap_or_else(|error| panic!("{when}: {error}"));
            assert_eq!(program.reads(), Reads { env, stdin, ..Reads::default() }, "{when}");
        }
    }
}
