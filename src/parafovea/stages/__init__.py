"""One module a stage; rule, script and module share the name. Each wires files to the library."""
