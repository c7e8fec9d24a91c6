//! Roles, rights, databases, tablespaces, foreign servers and replication.

use crate::visit::table::rows;

rows! {
    GrantStmt {
        is_grant: scalar,
        targtype: choice(GrantTargetType),
        objtype: choice(ObjectType),
        objects: walk,
        privileges: walk,
        grantees: walk,
        grant_option: scalar,
        grantor: walk,
        behavior: choice(DropBehavior),
    }
    GrantRoleStmt {
        granted_roles: walk,
        grantee_roles: walk,
        is_grant: scalar,
        opt: walk,
        grantor: walk,
        behavior: choice(DropBehavior),
    }
    AlterDefaultPrivilegesStmt {
        options: walk,
        action: walk,
    }
    CreateTableSpaceStmt {
        tablespacename: text,
        owner: walk,
        location: text,
        options: walk,
    }
    DropTableSpaceStmt {
        tablespacename: text,
        missing_ok: scalar,
    }
    AlterTableSpaceOptionsStmt {
        tablespacename: text,
        options: walk,
        is_reset: scalar,
    }
    CreateFdwStmt {
        fdwname: text,
        func_options: walk,
        options: walk,
    }
    AlterFdwStmt {
        fdwname: text,
        func_options: walk,
        options: walk,
    }
    CreateForeignServerStmt {
        servername: text,
        servertype: text,
        version: text,
        fdwname: text,
        if_not_exists: scalar,
        options: walk,
    }
    AlterForeignServerStmt {
        servername: text,
        version: text,
        options: walk,
        has_version: scalar,
    }
    CreateUserMappingStmt {
        user: walk,
        servername: text,
        if_not_exists: scalar,
        options: walk,
    }
    AlterUserMappingStmt {
        user: walk,
        servername: text,
        options: walk,
    }
    DropUserMappingStmt {
        user: walk,
        servername: text,
        missing_ok: scalar,
    }
    ImportForeignSchemaStmt {
        server_name: text,
        remote_schema: text,
        local_schema: text,
        list_type: choice(ImportForeignSchemaType),
        table_list: walk,
        options: walk,
    }
    CreateRoleStmt {
        stmt_type: choice(RoleStmtType),
        role: text,
        options: walk,
    }
    AlterRoleStmt {
        role: walk,
        options: walk,
        action: scalar,
    }
    AlterRoleSetStmt {
        role: walk,
        database: text,
        setstmt: walk,
    }
    DropRoleStmt {
        roles: walk,
        missing_ok: scalar,
    }
    CreatedbStmt {
        dbname: text,
        options: walk,
    }
    AlterDatabaseStmt {
        dbname: text,
        options: walk,
    }
    AlterDatabaseRefreshCollStmt {
        dbname: text,
    }
    AlterDatabaseSetStmt {
        dbname: text,
        setstmt: walk,
    }
    DropdbStmt {
        dbname: text,
        missing_ok: scalar,
        options: walk,
    }
    AlterSystemStmt {
        setstmt: walk,
    }
    DropOwnedStmt {
        roles: walk,
        behavior: choice(DropBehavior),
    }
    ReassignOwnedStmt {
        roles: walk,
        newrole: walk,
    }
    PublicationTable {
        relation: walk,
        where_clause: walk,
        columns: walk,
    }
    PublicationObjSpec {
        pubobjtype: choice(PublicationObjSpecType),
        name: text,
        pubtable: walk,
        location: location,
    }
    CreatePublicationStmt {
        pubname: text,
        options: walk,
        pubobjects: walk,
        for_all_tables: scalar,
    }
    AlterPublicationStmt {
        pubname: text,
        options: walk,
        pubobjects: walk,
        for_all_tables: refuse_scalar,
        action: choice(AlterPublicationAction),
    }
    CreateSubscriptionStmt {
        subname: text,
        conninfo: text,
        publication: walk,
        options: walk,
    }
    AlterSubscriptionStmt {
        kind: choice(AlterSubscriptionType),
        subname: text,
        conninfo: text,
        publication: walk,
        options: walk,
    }
    DropSubscriptionStmt {
        subname: text,
        missing_ok: scalar,
        behavior: choice(DropBehavior),
    }
}
