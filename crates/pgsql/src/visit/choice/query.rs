//! Enumerations of queries and expressions.

use super::choices;

choices! {
    RoleSpecType = RoleSpecType {
        Cstring = ROLESPEC_CSTRING,
        CurrentRole = ROLESPEC_CURRENT_ROLE,
        CurrentUser = ROLESPEC_CURRENT_USER,
        SessionUser = ROLESPEC_SESSION_USER,
        Public = ROLESPEC_PUBLIC,
    }
    DefElemAction = DefElemAction {
        Unspec = DEFELEM_UNSPEC,
        Set = DEFELEM_SET,
        Add = DEFELEM_ADD,
        Drop = DEFELEM_DROP,
    }
    FunctionParameterMode = FunctionParameterMode {
        In = FUNC_PARAM_IN,
        Out = FUNC_PARAM_OUT,
        Inout = FUNC_PARAM_INOUT,
        Variadic = FUNC_PARAM_VARIADIC,
        Table = FUNC_PARAM_TABLE,
        Default = FUNC_PARAM_DEFAULT,
    }
    AExprKind = A_Expr_Kind {
        Op = AEXPR_OP,
        OpAny = AEXPR_OP_ANY,
        OpAll = AEXPR_OP_ALL,
        Distinct = AEXPR_DISTINCT,
        NotDistinct = AEXPR_NOT_DISTINCT,
        Nullif = AEXPR_NULLIF,
        In = AEXPR_IN,
        Like = AEXPR_LIKE,
        Ilike = AEXPR_ILIKE,
        Similar = AEXPR_SIMILAR,
        Between = AEXPR_BETWEEN,
        NotBetween = AEXPR_NOT_BETWEEN,
        BetweenSym = AEXPR_BETWEEN_SYM,
        NotBetweenSym = AEXPR_NOT_BETWEEN_SYM,
    }
    CoercionForm = CoercionForm {
        ExplicitCall = COERCE_EXPLICIT_CALL,
        ExplicitCast = COERCE_EXPLICIT_CAST,
        ImplicitCast = COERCE_IMPLICIT_CAST,
        SqlSyntax = COERCE_SQL_SYNTAX,
    }
    BoolExprType = BoolExprType {
        And = AND_EXPR,
        Or = OR_EXPR,
        Not = NOT_EXPR,
    }
    SubLinkType = SubLinkType {
        Exists = EXISTS_SUBLINK,
        All = ALL_SUBLINK,
        Any = ANY_SUBLINK,
        Rowcompare = ROWCOMPARE_SUBLINK,
        Expr = EXPR_SUBLINK,
        Multiexpr = MULTIEXPR_SUBLINK,
        Array = ARRAY_SUBLINK,
        Cte = CTE_SUBLINK,
    }
    MinMaxOp = MinMaxOp {
        Greatest = IS_GREATEST,
        Least = IS_LEAST,
    }
    SQLValueFunctionOp = SQLValueFunctionOp {
        CurrentDate = SVFOP_CURRENT_DATE,
        CurrentTime = SVFOP_CURRENT_TIME,
        CurrentTimeN = SVFOP_CURRENT_TIME_N,
        CurrentTimestamp = SVFOP_CURRENT_TIMESTAMP,
        CurrentTimestampN = SVFOP_CURRENT_TIMESTAMP_N,
        Localtime = SVFOP_LOCALTIME,
        LocaltimeN = SVFOP_LOCALTIME_N,
        Localtimestamp = SVFOP_LOCALTIMESTAMP,
        LocaltimestampN = SVFOP_LOCALTIMESTAMP_N,
        CurrentRole = SVFOP_CURRENT_ROLE,
        CurrentUser = SVFOP_CURRENT_USER,
        User = SVFOP_USER,
        SessionUser = SVFOP_SESSION_USER,
        CurrentCatalog = SVFOP_CURRENT_CATALOG,
        CurrentSchema = SVFOP_CURRENT_SCHEMA,
    }
    XmlExprOp = XmlExprOp {
        Xmlconcat = IS_XMLCONCAT,
        Xmlelement = IS_XMLELEMENT,
        Xmlforest = IS_XMLFOREST,
        Xmlparse = IS_XMLPARSE,
        Xmlpi = IS_XMLPI,
        Xmlroot = IS_XMLROOT,
        Xmlserialize = IS_XMLSERIALIZE,
        Document = IS_DOCUMENT,
    }
    XmlOptionType = XmlOptionType {
        Document = XMLOPTION_DOCUMENT,
        Content = XMLOPTION_CONTENT,
    }
    NullTestType = NullTestType {
        Null = IS_NULL,
        NotNull = IS_NOT_NULL,
    }
    BoolTestType = BoolTestType {
        True = IS_TRUE,
        NotTrue = IS_NOT_TRUE,
        False = IS_FALSE,
        NotFalse = IS_NOT_FALSE,
        Unknown = IS_UNKNOWN,
        NotUnknown = IS_NOT_UNKNOWN,
    }
    JsonFormatType = JsonFormatType {
        Default = JS_FORMAT_DEFAULT,
        Json = JS_FORMAT_JSON,
        Jsonb = JS_FORMAT_JSONB,
    }
    JsonEncoding = JsonEncoding {
        Default = JS_ENC_DEFAULT,
        Utf8 = JS_ENC_UTF8,
        Utf16 = JS_ENC_UTF16,
        Utf32 = JS_ENC_UTF32,
    }
    JsonValueType = JsonValueType {
        Any = JS_TYPE_ANY,
        Object = JS_TYPE_OBJECT,
        Array = JS_TYPE_ARRAY,
        Scalar = JS_TYPE_SCALAR,
    }
    JsonBehaviorType = JsonBehaviorType {
        Null = JSON_BEHAVIOR_NULL,
        Error = JSON_BEHAVIOR_ERROR,
        Empty = JSON_BEHAVIOR_EMPTY,
        True = JSON_BEHAVIOR_TRUE,
        False = JSON_BEHAVIOR_FALSE,
        Unknown = JSON_BEHAVIOR_UNKNOWN,
        EmptyArray = JSON_BEHAVIOR_EMPTY_ARRAY,
        EmptyObject = JSON_BEHAVIOR_EMPTY_OBJECT,
        Default = JSON_BEHAVIOR_DEFAULT,
    }
    JsonExprOp = JsonExprOp {
        Exists = JSON_EXISTS_OP,
        Query = JSON_QUERY_OP,
        Value = JSON_VALUE_OP,
        Table = JSON_TABLE_OP,
    }
    JsonWrapper = JsonWrapper {
        Unspec = JSW_UNSPEC,
        None = JSW_NONE,
        Conditional = JSW_CONDITIONAL,
        Unconditional = JSW_UNCONDITIONAL,
    }
    JsonQuotes = JsonQuotes {
        Unspec = JS_QUOTES_UNSPEC,
        Keep = JS_QUOTES_KEEP,
        Omit = JS_QUOTES_OMIT,
    }
    JsonTableColumnType = JsonTableColumnType {
        ForOrdinality = JTC_FOR_ORDINALITY,
        Regular = JTC_REGULAR,
        Exists = JTC_EXISTS,
        Formatted = JTC_FORMATTED,
        Nested = JTC_NESTED,
    }
    LimitOption = LimitOption {
        Default = LIMIT_OPTION_DEFAULT,
        Count = LIMIT_OPTION_COUNT,
        WithTies = LIMIT_OPTION_WITH_TIES,
    }
    SetOperation = SetOperation {
        None = SETOP_NONE,
        Union = SETOP_UNION,
        Intersect = SETOP_INTERSECT,
        Except = SETOP_EXCEPT,
    }
    OverridingKind = OverridingKind {
        NotSet = OVERRIDING_NOT_SET,
        UserValue = OVERRIDING_USER_VALUE,
        SystemValue = OVERRIDING_SYSTEM_VALUE,
    }
    SortByDir = SortByDir {
        Default = SORTBY_DEFAULT,
        Asc = SORTBY_ASC,
        Desc = SORTBY_DESC,
        Using = SORTBY_USING,
    }
    SortByNulls = SortByNulls {
        Default = SORTBY_NULLS_DEFAULT,
        First = SORTBY_NULLS_FIRST,
        Last = SORTBY_NULLS_LAST,
    }
    GroupingSetKind = GroupingSetKind {
        Empty = GROUPING_SET_EMPTY,
        Simple = GROUPING_SET_SIMPLE,
        Rollup = GROUPING_SET_ROLLUP,
        Cube = GROUPING_SET_CUBE,
        Sets = GROUPING_SET_SETS,
    }
    LockClauseStrength = LockClauseStrength {
        None = LCS_NONE,
        Forkeyshare = LCS_FORKEYSHARE,
        Forshare = LCS_FORSHARE,
        Fornokeyupdate = LCS_FORNOKEYUPDATE,
        Forupdate = LCS_FORUPDATE,
    }
    LockWaitPolicy = LockWaitPolicy {
        Block = LockWaitBlock,
        Skip = LockWaitSkip,
        Error = LockWaitError,
    }
    OnCommitAction = OnCommitAction {
        Noop = ONCOMMIT_NOOP,
        PreserveRows = ONCOMMIT_PRESERVE_ROWS,
        DeleteRows = ONCOMMIT_DELETE_ROWS,
        Drop = ONCOMMIT_DROP,
    }
    JoinType = JoinType {
        Inner = JOIN_INNER,
        Left = JOIN_LEFT,
        Full = JOIN_FULL,
        Right = JOIN_RIGHT,
        Semi = JOIN_SEMI,
        Anti = JOIN_ANTI,
        RightSemi = JOIN_RIGHT_SEMI,
        RightAnti = JOIN_RIGHT_ANTI,
        UniqueOuter = JOIN_UNIQUE_OUTER,
        UniqueInner = JOIN_UNIQUE_INNER,
    }
    CTEMaterialize = CTEMaterialize {
        Default = CTEMaterializeDefault,
        Always = CTEMaterializeAlways,
        Never = CTEMaterializeNever,
    }
    OnConflictAction = OnConflictAction {
        None = ONCONFLICT_NONE,
        Nothing = ONCONFLICT_NOTHING,
        Update = ONCONFLICT_UPDATE,
    }
    MergeMatchKind = MergeMatchKind {
        Matched = MERGE_WHEN_MATCHED,
        NotMatchedBySource = MERGE_WHEN_NOT_MATCHED_BY_SOURCE,
        NotMatchedByTarget = MERGE_WHEN_NOT_MATCHED_BY_TARGET,
    }
    CmdType = CmdType {
        Unknown = CMD_UNKNOWN,
        Select = CMD_SELECT,
        Update = CMD_UPDATE,
        Insert = CMD_INSERT,
        Delete = CMD_DELETE,
        Merge = CMD_MERGE,
        Utility = CMD_UTILITY,
        Nothing = CMD_NOTHING,
    }
    ReturningOptionKind = ReturningOptionKind {
        Old = RETURNING_OPTION_OLD,
        New = RETURNING_OPTION_NEW,
    }
}
