//! Statements that steer a session: transactions, settings, cursors, prepared statements, EXPLAIN, COPY, maintenance.

use crate::visit::table::rows;

rows! {
    TransactionStmt {
        kind: choice(TransactionStmtKind),
        options: walk,
        savepoint_name: text,
        gid: text,
        chain: scalar,
        location: location,
    }
    VariableSetStmt {
        kind: choice(VariableSetKind),
        name: text,
        args: walk,
        jumble_args: scalar,
        is_local: scalar,
        location: location,
    }
    VariableShowStmt {
        name: text,
    }
    DiscardStmt {
        target: choice(DiscardMode),
    }
    DeclareCursorStmt {
        portalname: text,
        options: scalar,
        query: walk,
    }
    ClosePortalStmt {
        portalname: text,
    }
    FetchStmt {
        direction: choice(FetchDirection),
        how_many: scalar,
        portalname: text,
        ismove: scalar,
    }
    PrepareStmt {
        name: text,
        argtypes: walk,
        query: walk,
    }
    ExecuteStmt {
        name: text,
        params: walk,
    }
    DeallocateStmt {
        name: text,
        isall: scalar,
        location: location,
    }
    ExplainStmt {
        query: walk,
        options: walk,
    }
    CopyStmt {
        relation: walk,
        query: walk,
        attlist: walk,
        is_from: scalar,
        is_program: scalar,
        filename: text,
        options: walk,
        where_clause: walk,
    }
    CallStmt {
        funccall: walk,
        funcexpr: refuse,
        outargs: refuse,
    }
    DoStmt {
        args: walk,
    }
    NotifyStmt {
        conditionname: text,
        payload: text,
    }
    ListenStmt {
        conditionname: text,
    }
    UnlistenStmt {
        conditionname: text,
    }
    LockStmt {
        relations: walk,
        mode: scalar,
        nowait: scalar,
    }
    ConstraintsSetStmt {
        constraints: walk,
        deferred: scalar,
    }
    CheckPointStmt {}
    LoadStmt {
        filename: text,
    }
    ClusterStmt {
        relation: walk,
        indexname: text,
        params: walk,
    }
    VacuumStmt {
        options: walk,
        rels: walk,
        is_vacuumcmd: scalar,
    }
    VacuumRelation {
        relation: walk,
        oid: refuse_scalar,
        va_cols: walk,
    }
    ReindexStmt {
        kind: choice(ReindexObjectType),
        relation: walk,
        name: text,
        params: walk,
    }
    RefreshMatViewStmt {
        concurrent: scalar,
        skip_data: scalar,
        relation: walk,
    }
    TruncateStmt {
        relations: walk,
        restart_seqs: scalar,
        behavior: choice(DropBehavior),
    }
}
