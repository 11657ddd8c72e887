use super::*;

#[test]
fn what_is_wrong_with_a_template_is_said_when_it_is_checked() {
    let long = "x".repeat(TEMPLATE_BYTES_MAX + 1);
    let nested = |depth: usize| {
        let open = "{% for a in sentences %}{% for b in idempotency_key %}".repeat(depth);
        format!("{open}{{% if summary %}}{{% endif %}}{}", "{% endfor %}".repeat(2 * depth))
    };
    let (slow, large) = (nested(3), format!("{{{{ {} }}}}", ["sentences"; 700].join("~")));
    let output = "{% for a in idempotency_key %}{{ ".to_owned()
        + &["sentences"; 150].join("~")
        + " }}{% endfor %}";
    let doubled =
        |filter: &str| format!("{{{{ '\"<' ~ summary{} }}}}", format!("|{filter}").repeat(60));
    let table: &[(&str, bool, &str)] = &[
        ("{{ sumary }}", false, "a page has no `sumary`"),
        ("{{ incident.chek }}", false, "line 1: undefined"),
        ("{% for r in regions %}{{ r.nam }}{% endfor %}", false, "line 1: undefined"),
        ("{{ summary", false, "line 1: unexpected end"),
        ("ok\n{% if %}", false, "line 2: unexpected"),
        ("{{ summary|nofilter }}", false, "line 1: filter nofilter is unknown"),
        ("{{ summary|replace('a', 'aa') }}", false, "line 1: filter replace is unknown"),
        ("{{ range(9) }}", false, "a page has no `range`"),
        ("{% set x = summary %}", false, "`set` cannot be used here"),
        ("{%- include 'x' %}", false, "`include` cannot be used here"),
        ("{# {{ #}{% set x = mesh %}", false, "`set` cannot be used here"),
        ("{{ '}}' ~ mesh * 99 }}", false, "line 1: `*` cannot be used"),
        (r#"{{ "\"}}" ~ mesh * 99 }}"#, false, "line 1: `*` cannot be used"),
        ("{{ {'a': {}} ~ mesh }}", false, "line 1: `{` cannot be used"),
        ("{% if '%}' %}{% endif %}{% set x = mesh %}", false, "`set` cannot be used here"),
        ("a\n{{ summary * 99 }}", false, "line 2: `*` cannot be used"),
        ("{{ labels|tojson(1000000000000) }}", false, "line 1: too many arguments"),
        (&doubled("tojson"), false, "a text becomes more than 65536 bytes"),
        ("{{ summary|join(summary|join(summary|join(summary))) }}", false, "a text becomes more"),
        (
            "{% for a in [summary ~ summary] %}{{ a }}{% endfor %}",
            false,
            "line 1: `[` cannot be used",
        ),
        (
            "{% for a in (summary, summary) %}{{ a }}{% endfor %}",
            false,
            "line 1: `,` cannot be used",
        ),
        ("{% for a in summary, summary %}{{ a }}{% endfor %}", false, "line 1: `,` cannot be used"),
        ("{{ regions|upper }}", false, "line 1: a list is no text"),
        (&long, false, "the template has 8193 bytes"),
        (&slow, false, "it takes more than 50000 steps"),
        (&output, false, "it becomes more than 262144 bytes"),
        ("{\"text\": \"{{ summary }}\"}", true, "no JSON"),
        ("{\"text\": {{ incident.check }}}", true, "no JSON"),
    ];
    for (source, json, said) in table {
        let error = check(source, *json).unwrap_err().to_string();
        assert!(error.contains(said), "{source:.60}: {error}");
    }
    // Many texts side by side are no danger: a page is small.
    assert_eq!(check(&large, false), Ok(()));
    let TemplateError::Unknown { nearest, .. } = check("{{ sumary }}", false).unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(nearest.as_deref(), Some("summary"));
}

#[test]
fn a_template_says_what_a_page_has_and_nothing_where_it_has_nothing() {
    let page = &example_pages()[0];
    let table = [
        ("{{ summary|tojson }}", r#""\"checkout\" is down:\n2 of 3 regions \\ fail""#),
        ("{{ labels.team }}/{{ labels.owner }}", "payments/"),
        ("<{{ incident.region }}>", "<>"),
        ("{% for r in regions if r.state == 'fail' %}{{ r.region }}{% endfor %}", "eu-west"),
        ("{% if regions %}{{ regions[0].state }}{% endif %}!", "fail!"),
        ("{% if incident.resolved_at is none %}open{% else %}over{% endif %}", "open"),
        ("{{ mesh|upper }} {{ sentences|length }}", "PROD 2"),
        (
            "{% for key, value in labels|items %}{{ key }}={{ value|e }}{% endfor %}",
            "team=payments",
        ),
        ("{{ (kind ~ ': ' ~ mesh)|default('x')|tojson }}", "\"opened: prod\""),
        ("{{ labels.owner|default('nobody') }}", "nobody"),
        ("*{{ mesh }}* {# a * b #}{{ '{%' }}", "*prod* {%"),
        // What stands in the page is no template.
        ("{{ '{' ~ '{ mesh }' ~ '}' }}", "{{ mesh }}"),
    ];
    for (source, expected) in table {
        assert_eq!(check(source, false), Ok(()), "{source}");
        assert_eq!(render(source, page).as_deref(), Ok(expected), "{source}");
    }
    let json = "{\"text\": {{ summary|tojson }}, \"team\": {{ labels.team|tojson }}}";
    assert_eq!(check(json, true), Ok(()));
    assert_eq!(
        check("{\"text\": {{ summary|tojson }}, \"n\": {{ sentences|length }}}", true),
        Ok(())
    );
}

#[test]
fn a_content_type_is_json_or_is_not() {
    for json in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
        assert!(is_json(json), "{json}");
    }
    for other in ["text/plain", "application/xml", "application/jsonp", ""] {
        assert!(!is_json(other), "{other}");
    }
}
