package zenwatcherintegrity

# The same answers as the chart's ValidatingAdmissionPolicy, for clusters that keep their policies in Gatekeeper.

violation[{"msg": "status is written by zen-watcher alone"}] {
	not is_writer
	is_judged_status
}

violation[{"msg": "Observations are created by zen-watcher alone"}] {
	not is_writer
	is_observation
	input.review.operation == "CREATE"
}

violation[{"msg": "what an Observation says is changed by zen-watcher alone"}] {
	not is_writer
	is_observation
	input.review.operation == "UPDATE"
	object.get(input.review.object, "spec", null) != object.get(input.review.oldObject, "spec", null)
}

violation[{"msg": "the labels and annotations by which zen-watcher finds an Observation are changed by zen-watcher alone"}] {
	not is_writer
	is_observation
	input.review.operation == "UPDATE"
	marks(input.review.object) != marks(input.review.oldObject)
}

violation[{"msg": "ownerReferences and finalizers of an Observation are changed by zen-watcher alone"}] {
	not is_writer
	is_observation
	input.review.operation == "UPDATE"
	bonds(input.review.object) != bonds(input.review.oldObject)
	not ends_deletion
}

violation[{"msg": sprintf("expiresAt is at most %d days after the creation of the exception", [input.parameters.exceptionMaxDays])}] {
	is_ours
	input.review.resource.resource == "observationexceptions"
	object.get(input.review, "subResource", "") == ""
	{"CREATE", "UPDATE"}[input.review.operation]
	not keeps_expiry
	created := time.parse_rfc3339_ns(input.review.object.metadata.creationTimestamp)
	expires := time.parse_rfc3339_ns(input.review.object.spec.expiresAt)
	expires > created + (((input.parameters.exceptionMaxDays * 24) * 3600) * 1000000000)
}

is_writer {
	input.review.userInfo.username == input.parameters.writers[_]
}

is_ours {
	input.review.resource.group == "zen.kube-zen.io"
}

is_judged_status {
	is_ours
	object.get(input.review, "subResource", "") == "status"
	{"CREATE", "UPDATE"}[input.review.operation]
}

is_observation {
	is_ours
	input.review.resource.resource == "observations"
	object.get(input.review, "subResource", "") == ""
}

# An update that leaves expiresAt as it is extends nothing.
keeps_expiry {
	input.review.operation == "UPDATE"
	input.review.object.spec.expiresAt == input.review.oldObject.spec.expiresAt
}

# The garbage collector takes the finalizers from what is being deleted.
ends_deletion {
	object.get(input.review.oldObject.metadata, "deletionTimestamp", null) != null
	count(bonds(input.review.object) - bonds(input.review.oldObject)) == 0
}

# By these others could delete an Observation, or keep it for ever.
bonds(thing) = found {
	metadata := object.get(thing, "metadata", {})
	finalizers := {["finalizer", value] | value := object.get(metadata, "finalizers", [])[_]}
	owners := {["owner", value] | value := object.get(metadata, "ownerReferences", [])[_]}
	found := finalizers | owners
}

# What zen-watcher says of an object beside its spec.
marks(thing) = found {
	metadata := object.get(thing, "metadata", {})
	labels := {[key, value] | value := object.get(metadata, "labels", {})[key]; is_label(key)}
	notes := {[key, value] | value := object.get(metadata, "annotations", {})[key]; startswith(key, "zen.kube-zen.io/")}
	found := [labels, notes]
}

is_label(key) {
	startswith(key, "zen.kube-zen.io/")
}

is_label(key) {
	key == "app.kubernetes.io/managed-by"
}
