rule make_phantom:
    output:
        volume=directory("<results>/phantoms/{kind}_seed{seed}.ome.zarr"),
        truth=directory("<results>/phantoms/{kind}_seed{seed}_truth.ome.zarr"),
        objects=directory("<results>/phantoms/{kind}_seed{seed}_objects.ome.zarr"),
    log:
        "<logs>/phantoms/{kind}_seed{seed}.log",
    benchmark:
        "<benchmarks>/phantoms/{kind}_seed{seed}.tsv"
    conda:
        "../../envs/parafovea.yaml"
    resources:
        mem_mb=memory("make_phantom"),
        runtime=minutes("make_phantom"),
    params:
        kind="{kind}",
        seed="{seed}",
        shape=phantom("shape"),
        spacing=phantom("spacing"),
        unit=phantom("unit"),
        code=fingerprint("make_phantom"),
    message:
        "Making phantom {wildcards.kind} of seed {wildcards.seed}"
    script:
        "../../scripts/make_phantom.py"


use rule make_phantom as make_scan with:
    output:
        volume="<results>/phantoms/{kind,chest}_seed{seed}.nii.gz",
        truth="<results>/phantoms/{kind}_seed{seed}_truth.nii.gz",
        objects="<results>/phantoms/{kind}_seed{seed}_objects.nii.gz",
        regions="<results>/phantoms/{kind}_seed{seed}_regions.nii.gz",
        nodules="<results>/phantoms/{kind}_seed{seed}_nodules.csv",
    log:
        "<logs>/phantoms/{kind}_seed{seed}_scan.log",
    benchmark:
        "<benchmarks>/phantoms/{kind}_seed{seed}_scan.tsv"
    message:
        "Making a scan of phantom {wildcards.kind} of seed {wildcards.seed}"
