//! Runs the vectors against all breakers, and prints the table.

fn main() {
    print!("{}", portcullis_breakers::table::page());
}
