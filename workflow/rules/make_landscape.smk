rule make_landscape:
    input:
        unpack(inputs("make_landscape")),
    output:
        **outputs("make_landscape"),
    log:
        "<logs>/phantoms/{kind}_seed{seed}.log",
    benchmark:
        "<benchmarks>/phantoms/{kind}_seed{seed}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("make_landscape"),
    params:
        arguments=arguments("make_landscape"),
    message:
        "Making phantom {wildcards.kind} of seed {wildcards.seed}"
    script:
        "../../scripts/make_landscape.py"
