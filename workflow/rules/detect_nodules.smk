rule detect_nodules:
    input:
        unpack(inputs("detect_nodules")),
    output:
        **outputs("detect_nodules"),
    log:
        "<logs>/{sample}/detect_nodules.log",
    benchmark:
        "<benchmarks>/{sample}/detect_nodules.tsv"
    wildcard_constraints:
        sample=samples_of("detect_nodules"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("detect_nodules"),
    params:
        arguments=arguments("detect_nodules"),
    message:
        "{wildcards.sample}: detecting"
    script:
        "../../scripts/detect_nodules.py"
