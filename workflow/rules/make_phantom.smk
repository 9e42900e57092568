rule make_phantom:
    input:
        unpack(inputs("make_phantom")),
    output:
        **outputs("make_phantom"),
    log:
        "<logs>/phantoms/{kind}_seed{seed}.log",
    benchmark:
        "<benchmarks>/phantoms/{kind}_seed{seed}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("make_phantom"),
    params:
        arguments=arguments("make_phantom"),
    message:
        "Making phantom {wildcards.kind} of seed {wildcards.seed}"
    script:
        "../../scripts/make_phantom.py"


use rule make_phantom as make_scan with:
    input:
        unpack(inputs("make_scan")),
    output:
        **outputs("make_scan"),
    log:
        "<logs>/phantoms/{kind}_seed{seed}_scan.log",
    benchmark:
        "<benchmarks>/phantoms/{kind}_seed{seed}_scan.tsv"
    resources:
        **resources("make_scan"),
    params:
        arguments=arguments("make_scan"),
    message:
        "Making a scan of phantom {wildcards.kind} of seed {wildcards.seed}"
