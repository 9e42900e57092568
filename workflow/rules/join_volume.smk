rule join_volume:
    input:
        unpack(inputs("join_volume")),
    output:
        **outputs("join_volume"),
    log:
        "<logs>/{sample}/join_volume.log",
    benchmark:
        "<benchmarks>/{sample}/join_volume.tsv"
    wildcard_constraints:
        sample=samples_of("join_volume"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("join_volume"),
    params:
        arguments=arguments("join_volume"),
    message:
        "{wildcards.sample}: joining the blocks of the volume"
    script:
        "../../scripts/join_volume.py"
