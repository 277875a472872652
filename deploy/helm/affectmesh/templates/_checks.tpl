{{/* What cannot work fails here, and says what helps. */}}
{{- define "affectmesh.checks" -}}
{{- $v := .Values -}}
{{- if eq (default .Chart.AppVersion $v.image.tag) "latest" -}}
{{- fail "image.tag: `latest` names another image every day; set a version." -}}
{{- end -}}
{{- if not (or $v.database.url $v.database.bundled $v.secrets.existingSecret) -}}
{{- fail "database: set database.url to a PostgreSQL, put database-url in secrets.existingSecret, or, for a trial, set database.bundled=true." -}}
{{- end -}}
{{- if and $v.database.url $v.database.bundled -}}
{{- fail "database: set database.url or database.bundled, not both." -}}
{{- end -}}
{{- if not (or $v.redis.url $v.redis.bundled $v.secrets.existingSecret) -}}
{{- fail "redis: set redis.url, put redis-url in secrets.existingSecret, or set redis.bundled=true." -}}
{{- end -}}
{{- if and $v.redis.url $v.redis.bundled -}}
{{- fail "redis: set redis.url or redis.bundled, not both." -}}
{{- end -}}
{{- if not (or $v.objectStore.url $v.objectStore.bundled) -}}
{{- fail "objectStore: set objectStore.url to s3://BUCKET/PREFIX?…, or, for a trial, objectStore.bundled=true." -}}
{{- end -}}
{{- if not $v.secrets.existingSecret -}}
{{- if not $v.secrets.secretKey -}}
{{- fail "secrets.secretKey: set at least 32 random characters and keep them, or name a secret in secrets.existingSecret." -}}
{{- end -}}
{{- if and $v.database.bundled (not $v.database.password) -}}
{{- fail "database.password: set letters and digits for the bundled PostgreSQL." -}}
{{- end -}}
{{- if and $v.redis.bundled (not $v.redis.password) -}}
{{- fail "redis.password: set letters and digits for the bundled Redis." -}}
{{- end -}}
{{- if and $v.objectStore.bundled (not (and $v.objectStore.accessKey $v.objectStore.secretKey)) -}}
{{- fail "objectStore: set accessKey and secretKey for the bundled S3 server." -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.inference.mode "triton") (not $v.triton.enabled) (not $v.inference.tritonUrl) -}}
{{- fail "inference.mode: set triton.enabled=true, or inference.tritonUrl to a Triton elsewhere." -}}
{{- end -}}
{{- if and $v.triton.enabled (eq $v.triton.models.source "claim") (not $v.triton.models.claimName) -}}
{{- fail "triton.models.claimName: name the claim of the volume that holds the models." -}}
{{- end -}}
{{- if and $v.keda.enabled (not $v.keda.prometheusAddress) -}}
{{- fail "keda.prometheusAddress: KEDA asks Prometheus for the length of the queue; give its address." -}}
{{- end -}}
{{- if and $v.keda.enabled $v.services.worker.autoscaling.enabled -}}
{{- fail "services.worker.autoscaling: KEDA scales the workers already; set autoscaling.enabled=false." -}}
{{- end -}}
{{- if and $v.certManager.edge.hosts (not $v.certManager.edge.issuer.name) -}}
{{- fail "certManager.edge.issuer.name: name the issuer of the edge's certificate." -}}
{{- end -}}
{{- $outside := or (not $v.database.bundled) (not $v.redis.bundled) (not $v.objectStore.bundled) $v.inference.tritonUrl $v.tracing.endpoint -}}
{{- if and $v.networkPolicy.enabled $v.networkPolicy.egress $outside (not $v.networkPolicy.external) -}}
{{- fail "networkPolicy.external: list address and port of the databases, Redis, S3, Triton and collectors outside the release, or set networkPolicy.egress=false." -}}
{{- end -}}
{{- end -}}

{{/* Values of former versions: they fail, with what to write instead. */}}
{{- define "affectmesh.deprecations" -}}
{{- $moved := dict
  "replicaCount" "services.NAME.replicas"
  "resources" "services.NAME.resources"
  "autoscaling" "services.NAME.autoscaling"
  "apiKey" "secrets.bootstrapApiKey"
  "postgresql" "database.bundled, or database.url"
  "ingress" "envoy.service: Envoy is the edge"
-}}
{{- if hasKey .Values.services.gateway "persistence" -}}
{{- fail "services.gateway.persistence is not a value of this chart any more. Use usageJournal: it is of every service that bills." -}}
{{- end -}}
{{- range $old, $new := $moved -}}
{{- if hasKey $.Values $old -}}
{{- fail (printf "%s is not a value of this chart any more. Use %s." $old $new) -}}
{{- end -}}
{{- end -}}
{{- end -}}
