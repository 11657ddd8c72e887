//! The JSON Schema of a file, out of the tables that read it.
//!
//! Draft 7, as that is what editors know. It says what fields there are, what their values look like and
//! which must be there; what values may be beyond that (ranges, names that exist, what excludes what) is
//! the rules' to say, and `parallax validate` says it.

#[cfg(test)]
pub mod judge;

use serde_json::{Map, Value, json};

use super::document::DOCUMENT;
use super::want::{Known, Shape, Want, known};

/// The schema, as it is printed.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

/// The schema of one document of a file.
pub fn schema() -> Value {
    let mut fields = known(DOCUMENT);
    fields.sort_by_key(|field| field.name);
    let mut schema = mapping(&fields);
    // A list with nothing behind its name is an empty one.
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut().filter(|it| it["type"] == "array") {
            property["type"] = json!(["array", "null"]);
        }
    }
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Configuration of Parallax");
    schema
}

fn mapping(fields: &[Known]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), described(&field.want))).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    let required: Vec<&str> =
        fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// What a value looks like, with the words for it.
fn described(want: &Want) -> Value {
    let mut schema = shape(&want.shape);
    schema["description"] = json!(want.words);
    schema
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text => json!({ "type": ["string", "number", "boolean"] }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Whole(least) => json!({ "type": "integer", "minimum": least }),
        Shape::Length => json!({ "type": "string", "pattern": length() }),
        Shape::Word(words) => {
            json!({ "enum": words().into_iter().flat_map(spelled).collect::<Vec<_>>() })
        }
        Shape::List(item) => json!({ "type": "array", "items": self::shape(item) }),
        Shape::Pairs => json!({
            "type": "object",
            "additionalProperties": self::shape(&Shape::Text),
        }),
        Shape::Mapping(fields) => mapping(&fields()),
        Shape::OneOf(shapes) => {
            json!({ "anyOf": shapes.iter().map(self::shape).collect::<Vec<_>>() })
        }
    }
}

/// A word, and the number that YAML takes it for where it looks like one.
fn spelled(word: &'static str) -> Vec<Value> {
    let number = serde_json::from_str::<serde_json::Number>(word).ok();
    let number = number.map(Value::Number);
    [Some(json!(word)), number].into_iter().flatten().collect()
}

/// Numbers with units, from large to small; a fraction stands in the last one only.
fn length() -> String {
    let units = parallax_common::text::UNITS;
    let last = units.iter().enumerate().map(|(at, (unit, _))| {
        let larger: String =
            units[..at].iter().map(|(unit, _)| format!("([0-9]+{unit})?")).collect();
        format!("{larger}[0-9]+(\\.[0-9]{{1,9}})?{unit}")
    });
    format!("^({})$", last.collect::<Vec<_>>().join("|"))
}

/// Every option with its path, as `checks[].http.method`; of what stands in several places one row each.
pub fn paths() -> Vec<(String, Want)> {
    let mut paths = Vec::new();
    walk("", &known(DOCUMENT), &mut paths);
    paths
}

fn walk(at: &str, fields: &[Known], paths: &mut Vec<(String, Want)>) {
    for field in fields {
        let path =
            if at.is_empty() { field.name.to_owned() } else { format!("{at}.{}", field.name) };
        paths.push((path.clone(), field.want));
        below(&path, &field.want.shape, paths);
    }
}

fn below(path: &str, shape: &Shape, paths: &mut Vec<(String, Want)>) {
    match shape {
        Shape::List(item) => below(&format!("{path}[]"), item, paths),
        Shape::Mapping(fields) => walk(path, &fields(), paths),
        Shape::OneOf(shapes) => shapes.iter().for_each(|shape| below(path, shape, paths)),
        Shape::Text
        | Shape::Boolean
        | Shape::Whole(_)
        | Shape::Length
        | Shape::Word(_)
        | Shape::Pairs => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, load};
    use super::judge::Judge;
    use super::*;

    /// What says that a value is not what its field wants.
    const OF_SHAPE: [&str; 3] = ["wrong_type", "enum_unknown", "unknown_field"];

    /// What the tables have against the shapes of a document.
    fn read(document: &Value) -> Vec<String> {
        let text = document.to_string();
        let wrong = load(Sources::from_texts([("x.yaml", text.as_str())])).err();
        let wrong = wrong.into_iter().flat_map(|invalid| invalid.diagnostics);
        let of_shape = wrong.filter(|it| OF_SHAPE.contains(&it.rule.as_str()));
        of_shape.map(|it| format!("{}: {}", it.field, it.message)).collect()
    }

    /// A document with nothing but this value at this path, and what must stand beside it.
    fn with(path: &str, value: Value) -> Value {
        path.rsplit('.').fold(value, |inner, part| match part.strip_suffix("[]") {
            Some(name) => json!({ name: [inner] }),
            None => json!({ part: inner }),
        })
    }

    /// Values of this shape, at least one.
    fn good(path: &str, shape: &Shape) -> Vec<Value> {
        let of_its_own = [
            ("slo.target", json!("99.9%")),
            ("maintenance[].from", json!("2026-12-01T22:00:00Z")),
            ("maintenance[].until", json!("2026-12-01T22:00:00Z")),
        ];
        if let Some((_, value)) = of_its_own.into_iter().find(|(end, _)| path.ends_with(end)) {
            return vec![value];
        }
        match shape {
            Shape::Text => vec![json!("a"), json!(7), json!(true)],
            Shape::Boolean => vec![json!(true), json!(false)],
            Shape::Whole(least) => vec![json!(least), json!(7)],
            Shape::Length => vec![json!("1m30s"), json!("1.5s"), json!("100ms")],
            Shape::Word(words) => words().into_iter().flat_map(spelled).collect(),
            Shape::List(item) => vec![json!(good(path, item))],
            Shape::Pairs => vec![json!({ "a": "b", "c": 7 })],
            Shape::Mapping(_) => vec![json!({})],
            Shape::OneOf(shapes) => shapes.iter().flat_map(|shape| good(path, shape)).collect(),
        }
    }

    /// Values that are of another.
    fn bad(shape: &Shape) -> Vec<Value> {
        let (list, map) = (json!(["a"]), json!({ "no_such_field": 1 }));
        match shape {
            Shape::Text => vec![list, map],
            Shape::Boolean => vec![list, map, json!("true"), json!("maybe"), json!(1)],
            Shape::Whole(1) => vec![list, map, json!("7"), json!(0), json!(-1), json!(1.5)],
            Shape::Whole(_) => vec![list, map, json!("7"), json!(-1), json!(1.5)],
            Shape::Length => vec![list, map, json!("a"), json!(10), json!("1s1m"), json!(".5s")],
            Shape::Word(_) => vec![list, map, json!("no-such-word"), json!(7_000)],
            Shape::List(item) => {
                let items = bad(item).into_iter().map(|item| json!([item]));
                items.chain([map, json!("a")]).collect()
            }
            Shape::Pairs => vec![list, json!("a"), json!({ "a": ["b"] })],
            Shape::Mapping(_) => vec![list, map, json!("a")],
            Shape::OneOf(_) => vec![list, map, json!("no-such-word")],
        }
    }

    #[test]
    fn tables_and_schema_take_and_refuse_the_same_values_of_every_option() {
        let judge = Judge::of_schema();
        let paths = paths();
        assert!(paths.len() > 300, "{}", paths.len());
        let mut refused = 0;
        for (path, want) in &paths {
            for value in good(path, &want.shape) {
                let document = with(path, value);
                assert_eq!(read(&document), Vec::<String>::new(), "{document}");
                assert_eq!(judge.refuses(&document), Vec::<String>::new(), "{document}");
            }
            for value in bad(&want.shape) {
                let document = with(path, value);
                assert!(!read(&document).is_empty(), "the tables take {document}");
                assert!(!judge.refuses(&document).is_empty(), "the schema takes {document}");
                refused += 1;
            }
        }
        assert!(refused > 1_000, "{refused}");
    }

    #[test]
    fn the_schema_says_what_a_value_must_be() {
        let schema = schema();
        let interval = &schema["properties"]["checks"]["items"]["properties"]["interval"];
        assert_eq!(interval["description"], "a length of time such as 500ms or 1m30s");
        assert_eq!(schema["properties"]["checks"]["type"], json!(["array", "null"]));
        assert_eq!(schema["properties"]["checks"]["items"]["required"], json!(["name"]));
    }

    #[test]
    fn every_option_has_a_path_of_its_own() {
        let mut names: Vec<String> = paths().into_iter().map(|(path, _)| path).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
