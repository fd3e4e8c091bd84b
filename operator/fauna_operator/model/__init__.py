"""The words in which the operator thinks: what is wanted, what was seen, what to do.

Frozen values without behaviour beyond arithmetic on themselves. Nothing here performs I/O, and
"we do not know" is always a value of its own (`None` with a sentence that says so at the field).
"""

from fauna_operator.model.actions import (
    Action,
    Annotate,
    Apply,
    Blocked,
    ChangeMembership,
    Create,
    Delete,
    Initialize,
    IssueCertificate,
    MakeAuthority,
    MakeRootSecret,
    Open,
    Plan,
    Remember,
    Report,
    Transfer,
    WriteLatch,
)
from fauna_operator.model.desired import Desired, Spec
from fauna_operator.model.latch import Latch, Origin
from fauna_operator.model.observed import (
    Answer,
    Certificate,
    Claim,
    Configuration,
    ConfigurationId,
    Lists,
    Node,
    Observed,
    Peer,
    Pod,
    Progress,
    Seen,
    Templates,
)
from fauna_operator.model.restores import Job, Request

__all__ = [
    "Action",
    "Annotate",
    "Answer",
    "Apply",
    "Blocked",
    "Certificate",
    "ChangeMembership",
    "Claim",
    "Configuration",
    "ConfigurationId",
    "Create",
    "Delete",
    "Desired",
    "Initialize",
    "IssueCertificate",
    "Job",
    "Latch",
    "Lists",
    "MakeAuthority",
    "MakeRootSecret",
    "Node",
    "Observed",
    "Open",
    "Origin",
    "Peer",
    "Plan",
    "Pod",
    "Progress",
    "Remember",
    "Report",
    "Request",
    "Seen",
    "Spec",
    "Templates",
    "Transfer",
    "WriteLatch",
]
