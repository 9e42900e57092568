rule export_mosaic:
    input:
        unpack(inputs("export_mosaic")),
    output:
        **outputs("export_mosaic"),
    log:
        "<logs>/{sample}/export_mosaic.log",
    benchmark:
        "<benchmarks>/{sample}/export_mosaic.tsv"
    wildcard_constraints:
        sample=samples_of("export_mosaic"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("export_mosaic"),
    params:
        arguments=arguments("export_mosaic"),
    message:
        "{wildcards.sample}: writing the refined mosaic"
    script:
        "../../scripts/export_mosaic.py"
