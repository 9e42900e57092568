include: "workflow/Snakefile"


# Snakemake forgets the default target of a file that is included. Another workflow that uses this
# one as a module may rename it, leave it out, or have its own.
if workflow.default_target is None and workflow.modifier.avail_rulename("all"):
    workflow.default_target = workflow.modifier.modify_rulename("all")
