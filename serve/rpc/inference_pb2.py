# ruff: noqa
# fmt: off
# Made from inference.proto by `python -m serve.rpc.generate`; don't edit.
"""The messages of inference.proto, in a pool of their own."""

from google.protobuf import descriptor_pool, message_factory

_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(
    b'\n\x0finference.proto\x12\tinference"\x13\n\x11ServerLiveRequest"(\n\x12ServerLiveR'
    b'esponse\x12\x12\n\x04live\x18\x01 \x01(\x08R\x04live"\x14\n\x12ServerReadyRequest"+\n\x13ServerReady'
    b'Response\x12\x14\n\x05ready\x18\x01 \x01(\x08R\x05ready"A\n\x11ModelReadyRequest\x12\x12\n\x04name\x18\x01 \x01('
    b'\tR\x04name\x12\x18\n\x07version\x18\x02 \x01(\tR\x07version"*\n\x12ModelReadyResponse\x12\x14\n\x05ready'
    b'\x18\x01 \x01(\x08R\x05ready"\x17\n\x15ServerMetadataRequest"f\n\x16ServerMetadataResponse'
    b'\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12\x18\n\x07version\x18\x02 \x01(\tR\x07version\x12\x1e\n\nextensions\x18\x03 \x03'
    b'(\tR\nextensions"D\n\x14ModelMetadataRequest\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12\x18\n\x07ve'
    b'rsion\x18\x02 \x01(\tR\x07version"\xcf\x02\n\x15ModelMetadataResponse\x12\x12\n\x04name\x18\x01 \x01(\tR\x04na'
    b'me\x12\x1a\n\x08versions\x18\x02 \x03(\tR\x08versions\x12\x1a\n\x08platform\x18\x03 \x01(\tR\x08platform\x12G\n\x06in'
    b'puts\x18\x04 \x03(\x0b2/.inference.ModelMetadataResponse.TensorMetadataR\x06inp'
    b'uts\x12I\n\x07outputs\x18\x05 \x03(\x0b2/.inference.ModelMetadataResponse.TensorMet'
    b'adataR\x07outputs\x1aV\n\x0eTensorMetadata\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12\x1a\n\x08datatype'
    b'\x18\x02 \x01(\tR\x08datatype\x12\x14\n\x05shape\x18\x03 \x03(\x03R\x05shape"\xd7\x01\n\x0eInferParameter\x12\x1f\n\nboo'
    b'l_param\x18\x01 \x01(\x08H\x00R\tboolParam\x12!\n\x0bint64_param\x18\x02 \x01(\x03H\x00R\nint64Param\x12#\n'
    b'\x0cstring_param\x18\x03 \x01(\tH\x00R\x0bstringParam\x12#\n\x0cdouble_param\x18\x04 \x01(\x01H\x00R\x0bdoub'
    b'leParam\x12#\n\x0cuint64_param\x18\x05 \x01(\x04H\x00R\x0buint64ParamB\x12\n\x10parameter_choice'
    b'"\xc3\x02\n\x13InferTensorContents\x12#\n\rbool_contents\x18\x01 \x03(\x08R\x0cboolContents\x12!\n'
    b'\x0cint_contents\x18\x02 \x03(\x05R\x0bintContents\x12%\n\x0eint64_contents\x18\x03 \x03(\x03R\rint64C'
    b"ontents\x12#\n\ruint_contents\x18\x04 \x03(\rR\x0cuintContents\x12'\n\x0fuint64_contents\x18"
    b'\x05 \x03(\x04R\x0euint64Contents\x12#\n\rfp32_contents\x18\x06 \x03(\x02R\x0cfp32Contents\x12#\n\rfp'
    b'64_contents\x18\x07 \x03(\x01R\x0cfp64Contents\x12%\n\x0ebytes_contents\x18\x08 \x03(\x0cR\rbytesCo'
    b'ntents"\x9d\x08\n\x11ModelInferRequest\x12\x1d\n\nmodel_name\x18\x01 \x01(\tR\tmodelName\x12#\n\rm'
    b'odel_version\x18\x02 \x01(\tR\x0cmodelVersion\x12\x0e\n\x02id\x18\x03 \x01(\tR\x02id\x12L\n\nparameters\x18\x04'
    b' \x03(\x0b2,.inference.ModelInferRequest.ParametersEntryR\nparameters\x12E'
    b'\n\x06inputs\x18\x05 \x03(\x0b2-.inference.ModelInferRequest.InferInputTensorR\x06i'
    b'nputs\x12Q\n\x07outputs\x18\x06 \x03(\x0b27.inference.ModelInferRequest.InferReques'
    b'tedOutputTensorR\x07outputs\x12,\n\x12raw_input_contents\x18\x07 \x03(\x0cR\x10rawInputCo'
    b'ntents\x1a\xcd\x02\n\x10InferInputTensor\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12\x1a\n\x08datatype\x18\x02 \x01('
    b'\tR\x08datatype\x12\x14\n\x05shape\x18\x03 \x03(\x03R\x05shape\x12]\n\nparameters\x18\x04 \x03(\x0b2=.inferenc'
    b'e.ModelInferRequest.InferInputTensor.ParametersEntryR\nparameters'
    b'\x12:\n\x08contents\x18\x05 \x01(\x0b2\x1e.inference.InferTensorContentsR\x08contents\x1aX\n\x0f'
    b'ParametersEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12/\n\x05value\x18\x02 \x01(\x0b2\x19.inference.Inf'
    b'erParameterR\x05value:\x028\x01\x1a\xf3\x01\n\x1aInferRequestedOutputTensor\x12\x12\n\x04name\x18\x01 '
    b'\x01(\tR\x04name\x12g\n\nparameters\x18\x02 \x03(\x0b2G.inference.ModelInferRequest.Infe'
    b'rRequestedOutputTensor.ParametersEntryR\nparameters\x1aX\n\x0fParameters'
    b'Entry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12/\n\x05value\x18\x02 \x01(\x0b2\x19.inference.InferParamete'
    b'rR\x05value:\x028\x01\x1aX\n\x0fParametersEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12/\n\x05value\x18\x02 \x01(\x0b'
    b'2\x19.inference.InferParameterR\x05value:\x028\x01"\xdf\x05\n\x12ModelInferResponse\x12\x1d\n'
    b'\nmodel_name\x18\x01 \x01(\tR\tmodelName\x12#\n\rmodel_version\x18\x02 \x01(\tR\x0cmodelVersio'
    b'n\x12\x0e\n\x02id\x18\x03 \x01(\tR\x02id\x12M\n\nparameters\x18\x04 \x03(\x0b2-.inference.ModelInferResp'
    b'onse.ParametersEntryR\nparameters\x12I\n\x07outputs\x18\x05 \x03(\x0b2/.inference.Mo'
    b'delInferResponse.InferOutputTensorR\x07outputs\x12.\n\x13raw_output_conten'
    b'ts\x18\x06 \x03(\x0cR\x11rawOutputContents\x1a\xd0\x02\n\x11InferOutputTensor\x12\x12\n\x04name\x18\x01 \x01(\tR'
    b'\x04name\x12\x1a\n\x08datatype\x18\x02 \x01(\tR\x08datatype\x12\x14\n\x05shape\x18\x03 \x03(\x03R\x05shape\x12_\n\nparam'
    b'eters\x18\x04 \x03(\x0b2?.inference.ModelInferResponse.InferOutputTensor.Par'
    b'ametersEntryR\nparameters\x12:\n\x08contents\x18\x05 \x01(\x0b2\x1e.inference.InferTens'
    b'orContentsR\x08contents\x1aX\n\x0fParametersEntry\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12/\n\x05val'
    b'ue\x18\x02 \x01(\x0b2\x19.inference.InferParameterR\x05value:\x028\x01\x1aX\n\x0fParametersEntr'
    b'y\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x12/\n\x05value\x18\x02 \x01(\x0b2\x19.inference.InferParameterR\x05v'
    b'alue:\x028\x01"\xba\x01\n\x18ModelRepositoryParameter\x12\x1f\n\nbool_param\x18\x01 \x01(\x08H\x00R\tboo'
    b'lParam\x12!\n\x0bint64_param\x18\x02 \x01(\x03H\x00R\nint64Param\x12#\n\x0cstring_param\x18\x03 \x01(\tH'
    b'\x00R\x0bstringParam\x12!\n\x0bbytes_param\x18\x04 \x01(\x0cH\x00R\nbytesParamB\x12\n\x10parameter_c'
    b'hoice"W\n\x16RepositoryIndexRequest\x12\'\n\x0frepository_name\x18\x01 \x01(\tR\x0ereposi'
    b'toryName\x12\x14\n\x05ready\x18\x02 \x01(\x08R\x05ready"\xca\x01\n\x17RepositoryIndexResponse\x12E\n\x06mo'
    b'dels\x18\x01 \x03(\x0b2-.inference.RepositoryIndexResponse.ModelIndexR\x06model'
    b's\x1ah\n\nModelIndex\x12\x12\n\x04name\x18\x01 \x01(\tR\x04name\x12\x18\n\x07version\x18\x02 \x01(\tR\x07version\x12\x14\n'
    b'\x05state\x18\x03 \x01(\tR\x05state\x12\x16\n\x06reason\x18\x04 \x01(\tR\x06reason"\x9f\x02\n\x1aRepositoryModelL'
    b"oadRequest\x12'\n\x0frepository_name\x18\x01 \x01(\tR\x0erepositoryName\x12\x1d\n\nmodel_nam"
    b'e\x18\x02 \x01(\tR\tmodelName\x12U\n\nparameters\x18\x03 \x03(\x0b25.inference.RepositoryMod'
    b'elLoadRequest.ParametersEntryR\nparameters\x1ab\n\x0fParametersEntry\x12\x10\n\x03'
    b'key\x18\x01 \x01(\tR\x03key\x129\n\x05value\x18\x02 \x01(\x0b2#.inference.ModelRepositoryParamet'
    b'erR\x05value:\x028\x01"\x1d\n\x1bRepositoryModelLoadResponse"\xa3\x02\n\x1cRepositoryModel'
    b"UnloadRequest\x12'\n\x0frepository_name\x18\x01 \x01(\tR\x0erepositoryName\x12\x1d\n\nmodel_"
    b'name\x18\x02 \x01(\tR\tmodelName\x12W\n\nparameters\x18\x03 \x03(\x0b27.inference.Repository'
    b'ModelUnloadRequest.ParametersEntryR\nparameters\x1ab\n\x0fParametersEntr'
    b'y\x12\x10\n\x03key\x18\x01 \x01(\tR\x03key\x129\n\x05value\x18\x02 \x01(\x0b2#.inference.ModelRepositoryPa'
    b'rameterR\x05value:\x028\x01"\x1f\n\x1dRepositoryModelUnloadResponse2\xae\x06\n\x14GRPCInfe'
    b'renceService\x12K\n\nServerLive\x12\x1c.inference.ServerLiveRequest\x1a\x1d.infer'
    b'ence.ServerLiveResponse"\x00\x12N\n\x0bServerReady\x12\x1d.inference.ServerReady'
    b'Request\x1a\x1e.inference.ServerReadyResponse"\x00\x12K\n\nModelReady\x12\x1c.infere'
    b'nce.ModelReadyRequest\x1a\x1d.inference.ModelReadyResponse"\x00\x12W\n\x0eServer'
    b'Metadata\x12 .inference.ServerMetadataRequest\x1a!.inference.ServerMet'
    b'adataResponse"\x00\x12T\n\rModelMetadata\x12\x1f.inference.ModelMetadataReques'
    b't\x1a .inference.ModelMetadataResponse"\x00\x12K\n\nModelInfer\x12\x1c.inference.'
    b'ModelInferRequest\x1a\x1d.inference.ModelInferResponse"\x00\x12Z\n\x0fRepository'
    b'Index\x12!.inference.RepositoryIndexRequest\x1a".inference.RepositoryI'
    b'ndexResponse"\x00\x12f\n\x13RepositoryModelLoad\x12%.inference.RepositoryMode'
    b'lLoadRequest\x1a&.inference.RepositoryModelLoadResponse"\x00\x12l\n\x15Reposi'
    b"toryModelUnload\x12'.inference.RepositoryModelUnloadRequest\x1a(.infer"
    b'ence.RepositoryModelUnloadResponse"\x00b\x06proto3'
)
DESCRIPTOR = _POOL.FindFileByName('inference.proto')
ServerLiveRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ServerLiveRequest'])
ServerLiveResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ServerLiveResponse'])
ServerReadyRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ServerReadyRequest'])
ServerReadyResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ServerReadyResponse'])
ModelReadyRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ModelReadyRequest'])
ModelReadyResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ModelReadyResponse'])
ServerMetadataRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ServerMetadataRequest'])
ServerMetadataResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ServerMetadataResponse'])
ModelMetadataRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ModelMetadataRequest'])
ModelMetadataResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ModelMetadataResponse'])
InferParameter = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['InferParameter'])
InferTensorContents = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['InferTensorContents'])
ModelInferRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ModelInferRequest'])
ModelInferResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ModelInferResponse'])
ModelRepositoryParameter = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['ModelRepositoryParameter'])
RepositoryIndexRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['RepositoryIndexRequest'])
RepositoryIndexResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['RepositoryIndexResponse'])
RepositoryModelLoadRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['RepositoryModelLoadRequest'])
RepositoryModelLoadResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['RepositoryModelLoadResponse'])
RepositoryModelUnloadRequest = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['RepositoryModelUnloadRequest'])
RepositoryModelUnloadResponse = message_factory.GetMessageClass(DESCRIPTOR.message_types_by_name['RepositoryModelUnloadResponse'])
