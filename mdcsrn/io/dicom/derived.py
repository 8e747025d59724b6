"""Header of a derived series: copied, new and dropped attributes."""

from __future__ import annotations

import copy
import datetime
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.sr.codedict import codes
from pydicom.valuerep import VALIDATORS

import mdcsrn
from mdcsrn.io.dicom.frames import SINGLE
from mdcsrn.io.dicom.header import FrameTags, get
from mdcsrn.io.dicom.naming import SeriesLabel
from mdcsrn.io.dicom.series import DicomSeries, Frame

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

# Copied as they are, so that a de-identified source stays so: patient, study, series, equipment, frame of reference.
_COPIED = """
SpecificCharacterSet TimezoneOffsetFromUTC PatientName PatientID IssuerOfPatientID OtherPatientIDs PatientBirthDate
PatientBirthTime PatientSex PatientAge PatientSize PatientWeight EthnicGroup PatientComments PatientSpeciesDescription
PatientBreedDescription PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
LongitudinalTemporalInformationModified BurnedInAnnotation ClinicalTrialSponsorName ClinicalTrialProtocolID
ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
ClinicalTrialSubjectReadingID ClinicalTrialTimePointID ClinicalTrialTimePointDescription StudyInstanceUID StudyDate
StudyTime ReferringPhysicianName StudyID AccessionNumber IssuerOfAccessionNumberSequence StudyDescription
PhysiciansOfRecord NameOfPhysiciansReadingStudy ReferencedStudySequence ProcedureCodeSequence
AdmittingDiagnosesDescription Occupation AdditionalPatientHistory PregnancyStatus Laterality BodyPartExamined
PatientPosition ProtocolName OperatorsName PerformingPhysicianName PerformedProcedureStepID
PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepDescription
RequestAttributesSequence AnatomicRegionSequence FrameOfReferenceUID PositionReferenceIndicator Manufacturer
InstitutionName InstitutionAddress InstitutionalDepartmentName StationName ManufacturerModelName DeviceSerialNumber
SoftwareVersions MagneticFieldStrength AcquisitionDate AcquisitionTime AcquisitionNumber ContrastBolusAgent
"""
COPIED = tuple(_COPIED.split())
# Of the MR Image module; an enhanced source has some of them in functional groups or under other names.
_ACQUISITION = """
ScanningSequence SequenceVariant ScanOptions MRAcquisitionType RepetitionTime EchoTime EchoTrainLength InversionTime
SequenceName FlipAngle NumberOfAverages ImagingFrequency ImagedNucleus EchoNumbers PixelBandwidth SAR ReceiveCoilName
TransmitCoilName InPlanePhaseEncodingDirection PercentSampling PercentPhaseFieldOfView
"""
ACQUISITION = tuple(_ACQUISITION.split())
RENAMED = {
    "EchoTime": "EffectiveEchoTime",
    "InversionTime": "InversionTimes",
    "SequenceName": "PulseSequenceName",
    "ImagingFrequency": "TransmitterFrequency",
    "ImagedNucleus": "ResonantNucleus",
}
DECIMAL = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "ImagingFrequency", "PixelBandwidth")
UNICODE = "ISO_IR 192"  # UTF-8
CHECKED = ("AS", "DA", "TM")  # representations whose values have one strict form
# Type 2 of the MR image object: there, and empty where it is not known.
_TYPE_2 = """
PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber
PositionReferenceIndicator Manufacturer ScanOptions MRAcquisitionType RepetitionTime EchoTime EchoTrainLength
PatientPosition
"""
TYPE_2 = tuple(_TYPE_2.split())


def template(like: DicomSeries, description: str, label: SeriesLabel, created: datetime.datetime) -> Dataset:
    """Header that all images of the derived series share; geometry and pixels come later.

    Args:
        like: source series.
        description: DerivationDescription.
        label: SeriesNumber and SeriesDescription.
        created: time of creation.

    Returns:
        A new dataset; private tags of the source are left behind, since they describe its own grid.
    """
    frame = like.frames[0]
    tags = FrameTags(like.headers[0], frame.index, frame.file)
    header = pydicom.Dataset()
    for keyword in COPIED:
        _copy(like, tags, keyword, keyword, header)
    if "SpecificCharacterSet" not in header and tags.get("SpecificCharacterSet") is not None:
        header.SpecificCharacterSet = UNICODE  # the files have several, and their texts were decoded
    for keyword in ACQUISITION:
        _copy(like, tags, keyword, keyword, header)
        if keyword not in header and keyword in RENAMED:
            _copy(like, tags, RENAMED[keyword], keyword, header)
    header.Modality = "MR"
    header.SOPClassUID = pydicom.uid.UID(SINGLE)
    header.SeriesInstanceUID = pydicom.uid.generate_uid(prefix=None)
    header.SeriesNumber, header.SeriesDescription = label.number, label.description
    header.DerivationDescription = description
    header.DerivationCodeSequence = [_code(codes.DCM.SpatialResampling)]
    kinds = [*tags.words("ImageType"), "OTHER", "OTHER", "OTHER"]
    header.ImageType = ["DERIVED", "SECONDARY", kinds[2] or "OTHER"]
    header.InstanceCreationDate = header.SeriesDate = header.ContentDate = created.strftime("%Y%m%d")
    header.InstanceCreationTime = header.SeriesTime = header.ContentTime = created.strftime("%H%M%S.%f")
    header.ContributingEquipmentSequence = [_equipment(created)]
    if "FrameOfReferenceUID" not in header:
        header.FrameOfReferenceUID = pydicom.uid.generate_uid(prefix=None)
    header.ScanningSequence = header.get("ScanningSequence") or _sequence(tags)
    header.SequenceVariant = header.get("SequenceVariant") or "NONE"
    _inversion(header)
    for keyword in TYPE_2:
        if keyword not in header:
            setattr(header, keyword, None)
    if "BodyPartExamined" not in header and "Laterality" not in header:
        header.Laterality = None  # of type 2 unless the body part is known and not one of a pair
    _lossy(tags, header)
    return header


def source_images(like: DicomSeries, frames: list[Frame], header: Dataset) -> None:
    """Name the source images nearest to a derived one.

    Args:
        like: source series.
        frames: of it.
        header: of the derived image; SourceImageSequence and ReferencedSeriesSequence are set where UIDs are known.
    """
    images = []
    for frame in frames:
        if frame.sop_uid:
            image = pydicom.Dataset()
            image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = frame.sop_class, frame.sop_uid
            if frame.sop_class != SINGLE:
                image.ReferencedFrameNumber = frame.index + 1
            images.append(image)
    if not images:
        return
    series = pydicom.Dataset()
    series.SeriesInstanceUID = get(like.headers[0], "SeriesInstanceUID", like.files[0]) or ""
    series.ReferencedInstanceSequence = _instances(images)
    if series.SeriesInstanceUID:
        header.ReferencedSeriesSequence = [series]
    for image in images:
        image.PurposeOfReferenceCodeSequence = [_code(codes.DCM.SourceImageForImageProcessingOperation)]
    header.SourceImageSequence = images


def _instances(images: list[Dataset]) -> list[Dataset]:
    """Each source file once, as a whole: references within a series have no frame numbers."""
    instances: dict[str, Dataset] = {}
    for image in images:
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID = image.ReferencedSOPClassUID
        item.ReferencedSOPInstanceUID = image.ReferencedSOPInstanceUID
        instances.setdefault(str(image.ReferencedSOPInstanceUID), item)
    return list(instances.values())


def _copy(like: DicomSeries, tags: FrameTags, source: str, target: str, header: Dataset) -> None:
    """Copy a tag that all files of the source agree on; one that differs belongs to its image, not to the series."""
    value = tags.get(source)
    if value is None:
        return  # only what is of type 2 may be there and empty, and that is seen to at the end
    if len(like.headers) > 1 and any(_text(d, source) != str(value) for d in like.headers if source in d):
        return
    if target == source and source in like.headers[0]:
        element = like.headers[0][source]
        if target in TYPE_2 or _is_valid(element):
            header[target] = copy.deepcopy(element)
        return
    if target in DECIMAL:  # 64-bit floats of enhanced images become decimal strings of 16 characters
        value = pydicom.valuerep.DSfloat(tags.numbers(source)[0], auto_format=True)
    setattr(header, target, copy.deepcopy(value))


def _is_valid(element: DataElement) -> bool:
    """False for an age, date or time that is none (``0Y``): scanners and de-identifiers write them, we must not."""
    if element.VR not in CHECKED:
        return True
    values = element.value if element.VM > 1 else [element.value]
    return all(VALIDATORS[element.VR](element.VR, str(value))[0] for value in values)


def _inversion(header: Dataset) -> None:
    """An inversion time goes with IR among the sequences: the standard has neither without the other."""
    sequences = header.ScanningSequence
    listed = [sequences] if isinstance(sequences, str) else list(sequences)
    if header.get("InversionTime"):
        if "IR" not in listed:
            header.ScanningSequence = [*listed, "IR"]
    elif "IR" in listed:
        header.InversionTime = None
    else:
        header.pop("InversionTime", None)


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset[keyword].value)


def _sequence(tags: FrameTags) -> str:
    """ScanningSequence (required) of an enhanced source, which says it in EchoPulseSequence; RM is "research mode"."""
    kind = {"GRADIENT": "GR", "SPIN": "SE"}.get(tags.text("EchoPulseSequence"))
    return kind or "RM"


def _lossy(tags: FrameTags, header: Dataset) -> None:
    """Once lossy, always lossy: the standard wants that passed on."""
    if tags.text("LossyImageCompression") != "01":
        header.LossyImageCompression = "00"
        return
    header.LossyImageCompression = "01"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        value = tags.get(keyword)
        if value is not None:
            setattr(header, keyword, copy.deepcopy(value))


def _equipment(created: datetime.datetime) -> Dataset:
    item = pydicom.Dataset()
    item.Manufacturer = "mdcsrn"
    # Not ManufacturerModelName and SoftwareVersions: dcm2niix takes those of any sequence for the scanner's.
    item.ContributionDescription = f"mdcsrn {mdcsrn.__version__}"
    item.ContributionDateTime = created.strftime("%Y%m%d%H%M%S.%f")
    item.PurposeOfReferenceCodeSequence = [_code(codes.DCM.ProcessingEquipment)]
    return item


def _code(code: Any) -> Dataset:
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
