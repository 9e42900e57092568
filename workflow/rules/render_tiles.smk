rule render_tiles:
    input:
        unpack(inputs("render_tiles")),
    output:
        **outputs("render_tiles"),
    log:
        "<logs>/{sample}/render_tiles.log",
    benchmark:
        "<benchmarks>/{sample}/render_tiles.tsv"
    wildcard_constraints:
        sample=samples_of("render_tiles"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("render_tiles"),
    params:
        arguments=arguments("render_tiles"),
    message:
        "{wildcards.sample}: drawing tiles"
    script:
        "../../scripts/render_tiles.py"
