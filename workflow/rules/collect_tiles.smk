rule collect_tiles:
    input:
        ledgers=tile_ledgers,
    output:
        tiles="<results>/{sample}/tiles.tsv",
        quarantine=report(
            "<results>/{sample}/quarantine.tsv",
            caption="../report/quarantine.rst",
            category="Tiles",
            labels={"sample": "{sample}", "content": "tiles that cannot be used"},
        ),
    log:
        "<logs>/{sample}/collect_tiles.log",
    benchmark:
        "<benchmarks>/{sample}/collect_tiles.tsv"
    wildcard_constraints:
        sample=samples_of_type("tiles"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("collect_tiles"),
        runtime=minutes("collect_tiles"),
    params:
        strict=setting("task.tiles.strict"),
        code=fingerprint("collect_tiles"),
    message:
        "{wildcards.sample}: collecting tiles"
    script:
        "../../scripts/collect_tiles.py"
