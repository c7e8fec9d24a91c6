//! Names, types, constants and options: the leaves of every statement.

use crate::visit::table::rows;

rows! {
    Alias {
        aliasname: text,
        colnames: walk,
    }
    RangeVar {
        catalogname: refuse,
        schemaname: text,
        relname: text,
        inh: scalar,
        relpersistence: scalar,
        alias: walk,
        location: location,
    }
    TypeName {
        names: walk,
        type_oid: refuse_scalar,
        setof: scalar,
        pct_type: scalar,
        typmods: walk,
        typemod: scalar,
        array_bounds: walk,
        location: location,
    }
    RoleSpec {
        roletype: choice(RoleSpecType),
        rolename: text,
        location: location,
    }
    DefElem {
        defnamespace: text,
        defname: text,
        arg: walk,
        defaction: choice(DefElemAction),
        location: location,
    }
    Integer {
        ival: scalar,
    }
    Float {
        fval: text,
    }
    Boolean {
        boolval: scalar,
    }
    String {
        sval: text,
    }
    BitString {
        bsval: text,
    }
    ObjectWithArgs {
        objname: walk,
        objargs: walk,
        objfuncargs: walk,
        args_unspecified: scalar,
    }
    AccessPriv {
        priv_name: text,
        cols: walk,
    }
    FunctionParameter {
        name: text,
        arg_type: walk,
        mode: choice(FunctionParameterMode),
        defexpr: walk,
        location: location,
    }
}
