rule export_dicom:
    input:
        unpack(inputs("export_dicom")),
    output:
        **outputs("export_dicom"),
    log:
        "<logs>/{sample}/export_dicom.log",
    benchmark:
        "<benchmarks>/{sample}/export_dicom.tsv"
    wildcard_constraints:
        sample=samples_of("export_dicom"),
    conda:
        "../../envs/parafovea.yaml"
    resources:
        **resources("export_dicom"),
    params:
        arguments=arguments("export_dicom"),
    message:
        "{wildcards.sample}: writing DICOM objects"
    script:
        "../../scripts/export_dicom.py"
