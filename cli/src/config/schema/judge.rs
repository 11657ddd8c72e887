//! Whether a document is what the schema says. Tests only.

use serde_json::Value;

/// Whether a document is what a schema says.
pub struct Judge {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Judge {
    /// Of the schema that is printed.
    pub fn of_schema() -> Self {
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("schema.json", super::schema()).unwrap();
        let index = compiler.compile("schema.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// Whether it is, whole.
    pub fn takes(&self, document: &Value) -> Result<(), String> {
        self.schemas.validate(document, self.index).map_err(|error| format!("{error:#}"))
    }

    /// What the schema has against it, apart from what must stand beside it and does not.
    pub fn refuses(&self, document: &Value) -> Vec<String> {
        match self.schemas.validate(document, self.index) {
            Ok(()) => Vec::new(),
            Err(error) => Self::causes(&error),
        }
    }

    fn causes(error: &boon::ValidationError<'_, '_>) -> Vec<String> {
        let below: Vec<Vec<String>> = error.causes.iter().map(Self::causes).collect();
        match error.kind {
            boon::ErrorKind::Required { .. } => Vec::new(),
            // It fits one of them, but for what must stand beside it.
            boon::ErrorKind::AnyOf if below.iter().any(Vec::is_empty) => Vec::new(),
            _ if below.is_empty() => vec![error.to_string()],
            _ => below.concat(),
        }
    }
}
