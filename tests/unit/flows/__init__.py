"""The flow side, without a kernel: records are made here, in the layout that structs.h says."""
