rule resample_volume:
    input:
        unpack(inputs("resample_volume")),
    output:
        **outputs("resample_volume"),
    log:
        "<logs>/{sample}/resample_volume.log",
    benchmark:
        "<benchmarks>/{sample}/resample_volume.tsv"
    wildcard_constraints:
        sample=samples_of("resample_volume"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("resample_volume"),
    params:
        arguments=arguments("resample_volume"),
    message:
        "{wildcards.sample}: resampling and normalizing {params.arguments[source]}"
    script:
        "../../scripts/resample_volume.py"
