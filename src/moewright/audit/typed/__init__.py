"""Claims with their types: of a file, of an assistant, of somebody who read a document."""
