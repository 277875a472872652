{{/*
Every service: its image, module, ports (as services/common/settings.py gives them), who may call it,
whether it runs models, fetches URLs of clients, and bills. tests/deploy compares it with the code.
*/}}
{{- define "affectmesh.components" -}}
billing:   {image: control,  module: services.billing,   port: 50050, callers: [gateway, jobs, worker, text, face, voice, biosignal, fusion]}
jobs:      {image: jobs,     module: services.jobs,      port: 50051, callers: [gateway, worker, face, voice, biosignal, fusion, envoy], fetches: true}
text:      {image: analysis, module: services.text,      port: 50052, callers: [gateway, fusion, envoy], infers: true, bills: true}
face:      {image: analysis, module: services.face,      port: 50053, callers: [gateway, fusion, worker, envoy], infers: true, fetches: true, bills: true}
voice:     {image: voice,    module: services.voice,     port: 50054, callers: [gateway, fusion, worker, envoy], infers: true, fetches: true, bills: true}
biosignal: {image: analysis, module: services.biosignal, port: 50055, callers: [gateway, fusion, envoy], infers: true, fetches: true, bills: true}
fusion:    {image: analysis, module: services.fusion,    port: 50056, callers: [gateway, worker, envoy], fetches: true, bills: true}
gateway:   {image: control,  module: services.gateway,   port: 50057, callers: [], http: 8080, authorization: 50107, bills: true}
worker:    {image: jobs,     module: services.jobs.worker, port: 50110, callers: [], fetches: true}
{{- end -}}

{{/* What the rest of a release is made of, for policies. */}}
{{- define "affectmesh.usesRedis" -}}gateway billing jobs worker{{- end -}}
{{- define "affectmesh.usesDatabase" -}}billing jobs worker migrate{{- end -}}
{{- define "affectmesh.usesObjectStore" -}}jobs worker{{- end -}}
