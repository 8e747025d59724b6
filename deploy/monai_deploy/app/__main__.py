"""Entry of the MONAI Deploy app: ``python deploy/monai_deploy/app -i DICOM_FOLDER -o FOLDER``."""

from mdcsrn_deploy.start import prepare

prepare()  # before anything imports Holoscan

from mdcsrn_deploy.command import main  # noqa: E402

main(prog_name="mdcsrn-deploy")
