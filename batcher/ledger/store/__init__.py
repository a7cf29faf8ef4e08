"""The SQLite store: its tables, its transactions, and every statement that writes."""
