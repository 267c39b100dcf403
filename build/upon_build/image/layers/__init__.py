"""Entries as layers: a tar that depends on nothing but its entries, compressed the same way always."""
