//! How the rows of [`super::fields`] become code.
//!
//! Each row is both data (for the test that compares it with the node) and the code that reads the field, so the two
//! cannot drift apart. The `match` over node types has no default arm: a grammar with a new type does not compile.

use pg_raw_parse::list::{CastNodeList, NodeList};
use pg_raw_parse::{ConstValue, Node};

use super::Child;
use crate::Refused;

/// What is done with one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Holds nodes: they are visited.
    Walk,
    /// A number or flag that any statement may set; compared.
    Scalar,
    /// A string; read (so that bad bytes surface in [`crate::parse()`]) and compared.
    Text,
    /// The value of a constant; compared.
    Constant,
    /// A C enumeration; a value that [`super::choice`] does not know is refused.
    Choice,
    /// A byte offset into the text; the only kind that is not compared.
    Location,
    /// Set only after parsing, or not understood: refused when set.
    Refuse,
}

/// One reviewed field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The accessor's name in `pg_raw_parse`.
    pub field: &'static str,
    /// What is done with it.
    pub kind: Kind,
}

/// A node type with its rows.
pub(crate) trait Rows {
    const NAME: &'static str;
    /// `None`: the raw grammar never makes this type.
    const ROWS: Option<&'static [Row]>;

    fn children<'a>(&'a self, out: &mut Vec<Child<'a>>) -> Result<(), Refused>;

    /// Compares what is not a node and queues what is; `Err` names the first field that differs.
    fn same<'a>(&'a self, other: &'a Self, queue: &mut Vec<(Node<'a>, Node<'a>)>) -> Result<(), &'static str>;
}

/// A field that can hold nodes.
pub(crate) trait Walk<'a>: Copy {
    fn push(self, field: &'static str, out: &mut Vec<Child<'a>>);
    fn queue(self, other: Self, queue: &mut Vec<(Node<'a>, Node<'a>)>) -> bool;
}

impl<'a> Walk<'a> for Node<'a> {
    fn push(self, field: &'static str, out: &mut Vec<Child<'a>>) {
        if !matches!(self, Node::None) {
            out.push(Child { field, node: self });
        }
    }

    fn queue(self, other: Self, queue: &mut Vec<(Node<'a>, Node<'a>)>) -> bool {
        queue.push((self, other));
        true
    }
}

impl<'a, T> Walk<'a> for Option<&'a T>
where
    Node<'a>: From<&'a T>,
{
    fn push(self, field: &'static str, out: &mut Vec<Child<'a>>) {
        if let Some(node) = self {
            out.push(Child { field, node: Node::from(node) });
        }
    }

    fn queue(self, other: Self, queue: &mut Vec<(Node<'a>, Node<'a>)>) -> bool {
        queue.push((self.map_or(Node::None, Node::from), other.map_or(Node::None, Node::from)));
        true
    }
}

impl<'a> Walk<'a> for &'a NodeList {
    fn push(self, field: &'static str, out: &mut Vec<Child<'a>>) {
        for node in self {
            node.push(field, out);
        }
    }

    fn queue(self, other: Self, queue: &mut Vec<(Node<'a>, Node<'a>)>) -> bool {
        queue.extend(self.into_iter().zip(other));
        self.len() == other.len()
    }
}

impl<'a, T> Walk<'a> for &'a CastNodeList<T>
where
    T: 'a,
    &'a CastNodeList<T>: IntoIterator<Item = &'a T>,
    Node<'a>: From<&'a T>,
{
    fn push(self, field: &'static str, out: &mut Vec<Child<'a>>) {
        out.extend(self.into_iter().map(|node| Child { field, node: Node::from(node) }));
    }

    fn queue(self, other: Self, queue: &mut Vec<(Node<'a>, Node<'a>)>) -> bool {
        queue.extend(self.into_iter().map(Node::from).zip(other.into_iter().map(Node::from)));
        self.len() == other.len()
    }
}

/// A field that must stay empty.
pub(crate) trait Absent {
    fn absent(&self) -> bool;
}

impl Absent for Node<'_> {
    fn absent(&self) -> bool {
        matches!(self, Node::None)
    }
}

impl<T: ?Sized> Absent for Option<&T> {
    fn absent(&self) -> bool {
        self.is_none()
    }
}

impl Absent for &NodeList {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Absent for &CastNodeList<T> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

/// Whether a number or flag still has the value of a new node.
pub(crate) fn unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

pub(crate) fn unexpected(node: &'static str, field: &'static str) -> Refused {
    Refused::new(format!("field `{field}` of {node} is set, which is not supported"))
}

pub(crate) fn same_constant(left: Option<ConstValue<'_>>, right: Option<ConstValue<'_>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(ConstValue::Integer(left)), Some(ConstValue::Integer(right))) => left == right,
        (Some(ConstValue::Boolean(left)), Some(ConstValue::Boolean(right))) => left == right,
        (Some(ConstValue::Float(left)), Some(ConstValue::Float(right)))
        | (Some(ConstValue::String(left)), Some(ConstValue::String(right)))
        | (Some(ConstValue::BitString(left)), Some(ConstValue::BitString(right))) => left == right,
        _ => false,
    }
}

pub(crate) fn known_constant(value: Option<ConstValue<'_>>) -> Result<(), Refused> {
    match value {
        None
        | Some(
            ConstValue::Integer(_)
            | ConstValue::Boolean(_)
            | ConstValue::Float(_)
            | ConstValue::String(_)
            | ConstValue::BitString(_),
        ) => Ok(()),
        Some(_) => Err(Refused::new("a constant of an unknown type")),
    }
}

/// The code for one row.
macro_rules! row {
    (kind walk) => {
        $crate::visit::Kind::Walk
    };
    (kind scalar) => {
        $crate::visit::Kind::Scalar
    };
    (kind text) => {
        $crate::visit::Kind::Text
    };
    (kind constant) => {
        $crate::visit::Kind::Constant
    };
    (kind choice) => {
        $crate::visit::Kind::Choice
    };
    (kind location) => {
        $crate::visit::Kind::Location
    };
    (kind refuse) => {
        $crate::visit::Kind::Refuse
    };
    (kind refuse_scalar) => {
        $crate::visit::Kind::Refuse
    };

    (visit $this:expr, $out:ident, $field:ident, walk) => {
        $crate::visit::table::Walk::push($this.$field(), stringify!($field), $out)
    };
    (visit $this:expr, $out:ident, $field:ident, scalar) => {};
    (visit $this:expr, $out:ident, $field:ident, text) => {
        let _: Option<&str> = $this.$field();
    };
    (visit $this:expr, $out:ident, $field:ident, constant) => {
        $crate::visit::table::known_constant($this.$field())?
    };
    (visit $this:expr, $out:ident, $field:ident, choice $choice:ident) => {
        let _ = $crate::visit::choice::$choice::of($this.$field)?;
    };
    (visit $this:expr, $out:ident, $field:ident, location) => {};
    (visit $this:expr, $out:ident, $field:ident, refuse) => {
        if !$crate::visit::table::Absent::absent(&$this.$field()) {
            return Err($crate::visit::table::unexpected(Self::NAME, stringify!($field)));
        }
    };
    (visit $this:expr, $out:ident, $field:ident, refuse_scalar) => {
        if !$crate::visit::table::unset(&$this.$field) {
            return Err($crate::visit::table::unexpected(Self::NAME, stringify!($field)));
        }
    };

    (same $this:expr, $other:ident, $queue:ident, $field:ident, walk) => {
        $crate::visit::table::Walk::queue($this.$field(), $other.$field(), $queue)
    };
    (same $this:expr, $other:ident, $queue:ident, $field:ident, scalar) => {
        $this.$field == $other.$field
    };
    (same $this:expr, $other:ident, $queue:ident, $field:ident, text) => {
        $this.$field() == $other.$field()
    };
    (same $this:expr, $other:ident, $queue:ident, $field:ident, constant) => {
        $crate::visit::table::same_constant($this.$field(), $other.$field())
    };
    (same $this:expr, $other:ident, $queue:ident, $field:ident, choice $choice:ident) => {
        $this.$field == $other.$field
    };
    (same $this:expr, $other:ident, $queue:ident, $field:ident, location) => {
        true
    };
    (same $this:expr, $other:ident, $queue:ident, $field:ident, refuse) => {
        $crate::visit::table::Absent::absent(&$this.$field()) && $crate::visit::table::Absent::absent(&$other.$field())
    };
    (same $this:expr, $other:ident, $queue:ident, $field:ident, refuse_scalar) => {
        $this.$field == $other.$field
    };
}
pub(crate) use row;

/// Nodes of the grammar: `Type { field: kind, .. }`.
macro_rules! rows {
    ($($node:ident { $($field:ident : $kind:ident $(($choice:ident))?,)* })*) => { $(
        impl $crate::visit::table::Rows for ::pg_raw_parse::nodes::$node {
            const NAME: &'static str = stringify!($node);
            const ROWS: Option<&'static [$crate::visit::Row]> = Some(&[$(
                $crate::visit::Row { field: stringify!($field), kind: $crate::visit::table::row!(kind $kind) },
            )*]);

            fn children<'a>(&'a self, out: &mut Vec<$crate::visit::Child<'a>>) -> Result<(), $crate::Refused> {
                let _ = &out;
                $($crate::visit::table::row!(visit self, out, $field, $kind $($choice)?);)*
                Ok(())
            }

            fn same<'a>(
                &'a self,
                other: &'a Self,
                queue: &mut Vec<(::pg_raw_parse::Node<'a>, ::pg_raw_parse::Node<'a>)>,
            ) -> Result<(), &'static str> {
                let _ = (other, &queue);
                $(if !($crate::visit::table::row!(same self, other, queue, $field, $kind $($choice)?)) {
                    return Err(stringify!($field));
                })*
                Ok(())
            }
        }
    )* };
}
pub(crate) use rows;

/// Nodes that no text parses to.
macro_rules! never {
    ($($node:ident,)*) => { $(
        impl $crate::visit::table::Rows for ::pg_raw_parse::nodes::$node {
            const NAME: &'static str = stringify!($node);
            const ROWS: Option<&'static [$crate::visit::Row]> = None;

            fn children<'a>(&'a self, _: &mut Vec<$crate::visit::Child<'a>>) -> Result<(), $crate::Refused> {
                Err($crate::Refused::new(concat!("a node of type ", stringify!($node), ", which the grammar does not make")))
            }

            fn same<'a>(
                &'a self,
                _: &'a Self,
                _: &mut Vec<(::pg_raw_parse::Node<'a>, ::pg_raw_parse::Node<'a>)>,
            ) -> Result<(), &'static str> {
                Err("type")
            }
        }
    )* };
}
pub(crate) use never;

/// Hands every node type of `pg_raw_parse` to a macro.
macro_rules! every_node {
    ($then:ident) => {
        $then! {
            Bitmapset, Alias, RangeVar, TableFunc, IntoClause, Param, Aggref, GroupingFunc, WindowFunc,
            WindowFuncRunCondition, MergeSupportFunc, SubscriptingRef, FuncExpr, NamedArgExpr, OpExpr,
            ScalarArrayOpExpr, BoolExpr, SubLink, SubPlan, AlternativeSubPlan, FieldSelect, FieldStore,
            CoerceViaIO, ArrayCoerceExpr, ConvertRowtypeExpr, CollateExpr, CaseExpr, CaseWhen, CaseTestExpr,
            ArrayExpr, RowExpr, RowCompareExpr, CoalesceExpr, MinMaxExpr, SQLValueFunction, XmlExpr,
            JsonFormat, JsonReturning, JsonValueExpr, JsonConstructorExpr, JsonIsPredicate, JsonBehavior,
            JsonExpr, NullTest, BooleanTest, MergeAction, CoerceToDomain, CoerceToDomainValue, SetToDefault,
            CurrentOfExpr, NextValueExpr, InferenceElem, ReturningExpr, TargetEntry, RangeTblRef, JoinExpr,
            FromExpr, OnConflictExpr, Integer, Float, Boolean, String, BitString, Query, TypeName, ColumnRef,
            ParamRef, A_Expr, A_Const, TypeCast, CollateClause, RoleSpec, FuncCall, A_Star, A_Indices,
            A_Indirection, A_ArrayExpr, ResTarget, MultiAssignRef, SortBy, WindowDef, RangeSubselect,
            RangeFunction, RangeTableFunc, RangeTableFuncCol, RangeTableSample, ColumnDef, TableLikeClause,
            IndexElem, DefElem, LockingClause, XmlSerialize, PartitionElem, PartitionSpec, PartitionBoundSpec,
            PartitionRangeDatum, PartitionCmd, RangeTblEntry, RTEPermissionInfo, RangeTblFunction,
            TableSampleClause, WithCheckOption, SortGroupClause, GroupingSet, WindowClause, RowMarkClause,
            WithClause, InferClause, OnConflictClause, CTESearchClause, CTECycleClause, CommonTableExpr,
            MergeWhenClause, ReturningOption, ReturningClause, TriggerTransition, JsonOutput, JsonArgument,
            JsonFuncExpr, JsonTablePathSpec, JsonTable, JsonTableColumn, JsonKeyValue, JsonParseExpr,
            JsonScalarExpr, JsonSerializeExpr, JsonObjectConstructor, JsonArrayConstructor,
            JsonArrayQueryConstructor, JsonAggConstructor, JsonObjectAgg, JsonArrayAgg, RawStmt, InsertStmt,
            DeleteStmt, UpdateStmt, MergeStmt, SelectStmt, SetOperationStmt, ReturnStmt, PLAssignStmt,
            CreateSchemaStmt, AlterTableStmt, AlterTableCmd, ATAlterConstraint, ReplicaIdentityStmt,
            AlterCollationStmt, AlterDomainStmt, GrantStmt, ObjectWithArgs, AccessPriv, GrantRoleStmt,
            AlterDefaultPrivilegesStmt, CopyStmt, VariableSetStmt, VariableShowStmt, CreateStmt, Constraint,
            CreateTableSpaceStmt, DropTableSpaceStmt, AlterTableSpaceOptionsStmt, AlterTableMoveAllStmt,
            CreateExtensionStmt, AlterExtensionStmt, AlterExtensionContentsStmt, CreateFdwStmt, AlterFdwStmt,
            CreateForeignServerStmt, AlterForeignServerStmt, CreateUserMappingStmt, AlterUserMappingStmt,
            DropUserMappingStmt, ImportForeignSchemaStmt, CreatePolicyStmt, AlterPolicyStmt, CreateAmStmt,
            CreateTrigStmt, CreateEventTrigStmt, AlterEventTrigStmt, CreatePLangStmt, CreateRoleStmt,
            AlterRoleStmt, AlterRoleSetStmt, DropRoleStmt, CreateSeqStmt, AlterSeqStmt, DefineStmt,
            CreateDomainStmt, CreateOpClassStmt, CreateOpClassItem, CreateOpFamilyStmt, AlterOpFamilyStmt,
            DropStmt, TruncateStmt, CommentStmt, SecLabelStmt, DeclareCursorStmt, ClosePortalStmt, FetchStmt,
            IndexStmt, CreateStatsStmt, StatsElem, AlterStatsStmt, CreateFunctionStmt, FunctionParameter,
            AlterFunctionStmt, DoStmt, InlineCodeBlock, CallStmt, CallContext, RenameStmt,
            AlterObjectDependsStmt, AlterObjectSchemaStmt, AlterOwnerStmt, AlterOperatorStmt, AlterTypeStmt,
            RuleStmt, NotifyStmt, ListenStmt, UnlistenStmt, TransactionStmt, CompositeTypeStmt, CreateEnumStmt,
            CreateRangeStmt, AlterEnumStmt, ViewStmt, LoadStmt, CreatedbStmt, AlterDatabaseStmt,
            AlterDatabaseRefreshCollStmt, AlterDatabaseSetStmt, DropdbStmt, AlterSystemStmt, ClusterStmt,
            VacuumStmt, VacuumRelation, ExplainStmt, CreateTableAsStmt, RefreshMatViewStmt, CheckPointStmt,
            DiscardStmt, LockStmt, ConstraintsSetStmt, ReindexStmt, CreateConversionStmt, CreateCastStmt,
            CreateTransformStmt, PrepareStmt, ExecuteStmt, DeallocateStmt, DropOwnedStmt, ReassignOwnedStmt,
            AlterTSDictionaryStmt, AlterTSConfigurationStmt, PublicationTable, PublicationObjSpec,
            CreatePublicationStmt, AlterPublicationStmt, CreateSubscriptionStmt, AlterSubscriptionStmt,
            DropSubscriptionStmt
        }
    };
}
#[cfg(test)]
pub(crate) use every_node;

macro_rules! dispatch {
    ($($node:ident),*) => {
        /// Appends the non-null children of `node` in the order of its rows.
        ///
        /// # Errors
        /// [`Refused`] when a row says so, a C enumeration has an unknown value, or the type is not of the grammar.
        pub(crate) fn children<'a>(node: Node<'a>, out: &mut Vec<Child<'a>>) -> Result<(), Refused> {
            match node {
                Node::None => Ok(()),
                Node::NodeList(list) => {
                    list.push("item", out);
                    Ok(())
                }
                Node::Invalid(_) => Err(Refused::new("a statement or clause of a type this parser cannot represent")),
                $(Node::$node(node) => node.children(out),)*
            }
        }

        /// The C name of the node's type.
        pub fn name(node: Node<'_>) -> &'static str {
            match node {
                Node::None => "nothing",
                Node::NodeList(_) => "List",
                Node::Invalid(_) => "unknown",
                $(Node::$node(_) => <pg_raw_parse::nodes::$node as Rows>::NAME,)*
            }
        }

        /// The reviewed rows of the node's type; `None` for lists and types that are not of the grammar.
        pub fn rows_of(node: Node<'_>) -> Option<&'static [Row]> {
            match node {
                Node::None | Node::NodeList(_) | Node::Invalid(_) => None,
                $(Node::$node(_) => <pg_raw_parse::nodes::$node as Rows>::ROWS,)*
            }
        }

        /// Compares two nodes without their children, which are queued in pairs.
        pub(crate) fn same<'a>(
            left: Node<'a>,
            right: Node<'a>,
            queue: &mut Vec<(Node<'a>, Node<'a>)>,
        ) -> Result<(), &'static str> {
            match (left, right) {
                (Node::None, Node::None) => Ok(()),
                (Node::NodeList(left), Node::NodeList(right)) => {
                    if left.queue(right, queue) { Ok(()) } else { Err("length") }
                }
                $((Node::$node(left), Node::$node(right)) => left.same(right, queue),)*
                _ => Err("type"),
            }
        }
    };
}
every_node!(dispatch);
