//! Where in the tree of a file something stands.
//!
//! A site is a cursor: `root.key("routes").item(2).key("path")`. Where the path leads to something that was not written, the
//! site stays at the nearest thing around it, so that a fault always has a place.

use toml::Spanned;
use toml::de::DeValue;

/// One place in the tree, and what is below it.
#[derive(Clone, Copy)]
pub(super) struct Site<'d> {
    value: Option<&'d Spanned<DeValue<'d>>>,
    offset: usize,
}

impl<'d> Site<'d> {
    pub(super) fn root(value: &'d Spanned<DeValue<'d>>) -> Self {
        Self { value: Some(value), offset: value.span().start }
    }

    /// Where the value of a key stands; of a table, its header.
    pub(super) fn key(self, key: &str) -> Self {
        let table = self.value.and_then(|value| value.get_ref().as_table());
        match table.and_then(|table| table.get(key)) {
            Some(value) => Self::root(value),
            None => Self { value: None, ..self },
        }
    }

    /// Where the key itself stands, such as `orders` in `[upstreams.orders]`.
    pub(super) fn name(self, key: &str) -> Self {
        let table = self.value.and_then(|value| value.get_ref().as_table());
        match table.and_then(|table| table.get_key_value(key)) {
            Some((key, value)) => Self { value: Some(value), offset: key.span().start },
            None => Self { value: None, ..self },
        }
    }

    /// Where an element of an array stands.
    pub(super) fn item(self, index: usize) -> Self {
        let array = self.value.and_then(|value| value.get_ref().as_array());
        match array.and_then(|array| array.get(index)) {
            Some(value) => Self::root(value),
            None => Self { value: None, ..self },
        }
    }

    /// Whether the file says anything here.
    pub(super) fn is_written(self) -> bool {
        self.value.is_some()
    }

    pub(super) fn offset(self) -> usize {
        self.offset
    }
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;

    const TEXT: &str = "[a.b]\nc = [10, 20]\n";

    fn offset(path: impl Fn(Site<'_>) -> Site<'_>) -> usize {
        let root = DeTable::parse(TEXT).unwrap();
        let root = Spanned::new(root.span(), DeValue::Table(root.into_inner()));
        path(Site::root(&root)).offset()
    }

    #[test]
    fn a_site_is_where_the_value_stands() {
        let found = offset(|root| root.key("a").key("b").key("c").item(1));

        assert_eq!(&TEXT[found..found + 2], "20");
    }

    #[test]
    fn a_name_is_where_the_key_stands() {
        let found = offset(|root| root.key("a").name("b"));

        assert_eq!(&TEXT[found..], "b]\nc = [10, 20]\n");
    }

    #[test]
    fn what_is_not_written_stands_at_what_is_around_it() {
        let around = offset(|root| root.key("a").key("b"));

        assert_eq!(offset(|root| root.key("a").key("b").key("x").item(3)), around);
    }
}
