rule measure_tiles:
    input:
        ledger="<results>/{sample}/tiles.tsv",
        quarantine="<results>/{sample}/quarantine.tsv",
        source=tile_files("source"),
        truth=tile_files("truth"),
    output:
        json="<results>/{sample}/quality.json",
        table=report(
            "<results>/{sample}/quality.tsv",
            caption="../report/quality.rst",
            category="Quality",
            labels={"sample": "{sample}", "content": "metrics"},
        ),
        tiles="<results>/{sample}/tile_quality.tsv",
    log:
        "<logs>/{sample}/measure_tiles.log",
    benchmark:
        "<benchmarks>/{sample}/measure_tiles.tsv"
    wildcard_constraints:
        sample=samples_of_type("tiles"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("measure_tiles"),
        runtime=minutes("measure_tiles"),
    params:
        source=setting("source"),
        truth=setting("truth"),
        content=tile_content("truth"),
        kind=setting("task.kind"),
        classes=setting("recipe.classes"),
        limits=setting("task.quality.limits"),
        code=fingerprint("measure_tiles"),
    message:
        "{wildcards.sample}: measuring tiles"
    script:
        "../../scripts/measure_tiles.py"
