rule blend_shards:
    input:
        unpack(inputs("blend_shards")),
    output:
        **outputs("blend_shards"),
    log:
        "<logs>/{sample}/blend_shards.log",
    benchmark:
        "<benchmarks>/{sample}/blend_shards.tsv"
    wildcard_constraints:
        sample=samples_of("blend_shards"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("blend_shards"),
    params:
        arguments=arguments("blend_shards"),
    message:
        "{wildcards.sample}: blending shards"
    script:
        "../../scripts/blend_shards.py"
