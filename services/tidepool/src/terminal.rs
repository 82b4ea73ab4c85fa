//! What goes to stdout: JSON for programs, aligned and harmless text for people.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::cli::Output;

/// Stdout, and how to write to it.
pub(crate) struct Printer<W> {
    out: W,
    /// Form of the output.
    pub(crate) form: Output,
    color: bool,
}

/// A printer to the stdout of this process. Colours need a terminal, and no `NO_COLOR`.
pub(crate) fn stdout(form: Output) -> Printer<io::StdoutLock<'static>> {
    let out = io::stdout().lock();
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = out.is_terminal() && !no_color;
    Printer { out, form, color }
}

impl<W: Write> Printer<W> {
    /// A printer to anything, without colours.
    #[cfg(test)]
    pub(crate) fn plain(out: W, form: Output) -> Self {
        let color = false;
        Self { out, form, color }
    }

    /// Prints a line and flushes it, so that a follower sees it at once.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Prints one JSON document: on one line for `jsonl`, else indented.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        if self.form == Output::Jsonl {
            self.line(&value.to_string())
        } else {
            self.line(&format!("{value:#}"))
        }
    }

    /// Prints items: one array for `json`, a line each for `jsonl`.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(crate) fn json_items(&mut self, items: &[Value]) -> io::Result<()> {
        if self.form == Output::Json {
            return self.json(&Value::from(items));
        }
        items.iter().try_for_each(|item| self.json(item))
    }

    /// Prints rows below a header; every column is as wide as its widest cell.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(crate) fn table<const N: usize>(
        &mut self,
        columns: [Column; N],
        rows: &[[String; N]],
    ) -> io::Result<()> {
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([columns[column].title.len()])
                .max()
                .unwrap_or(0)
        });
        let align = |cells: [&str; N]| {
            let padded = cells.into_iter().zip(columns).zip(widths);
            let padded: Vec<_> = padded
                .map(|((cell, c), width)| c.pad(cell, width))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        let header = align(columns.map(|column| column.title));
        self.line(&self.bold(&header))?;
        for row in rows {
            self.line(&align(row.each_ref().map(String::as_str)))?;
        }
        Ok(())
    }

    /// Text in bold, where colours are wanted.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.color {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    is_number: bool,
}

/// A column of texts.
pub(crate) const fn text(title: &'static str) -> Column {
    let is_number = false;
    Column { title, is_number }
}

/// A column of numbers, which line up at their right.
pub(crate) const fn number(title: &'static str) -> Column {
    let is_number = true;
    Column { title, is_number }
}

impl Column {
    fn pad(self, cell: &str, width: usize) -> String {
        if self.is_number {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        }
    }
}

/// Text of others without control characters: they could rewrite the terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn printed(form: Output, print: impl FnOnce(&mut Printer<&mut Vec<u8>>)) -> String {
        let mut out = Vec::new();
        print(&mut Printer::plain(&mut out, form));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_are_aligned_without_trailing_blanks() {
        let text = printed(Output::Text, |p| {
            let rows = [["a", "10", "x"], ["längst", "9", ""]].map(|row| row.map(str::to_owned));
            p.table([text("NAME"), number("N"), text("NOTE")], &rows)
                .unwrap();
        });
        assert_eq!(text, "NAME     N  NOTE\na       10  x\nlängst   9\n");
    }

    #[test]
    fn items_are_an_array_or_lines() {
        let items = [json!({"a": 1}), json!(2)];
        let print = |form| printed(form, |p| p.json_items(&items).unwrap());
        assert_eq!(print(Output::Jsonl), "{\"a\":1}\n2\n");
        assert_eq!(
            serde_json::from_str::<Value>(&print(Output::Json)).unwrap(),
            json!(items)
        );
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }
}
