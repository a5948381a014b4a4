"""Every limit that a user can meet, with its unit, its reason and its precedent."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

# --- the wire: Amazon S3's published limits unless said ---
KEY_BYTES_MAX = 1024  # UTF-8 bytes of an object key
USER_METADATA_BYTES_MAX = 2 * KIB  # names plus values of x-amz-meta-*
OBJECT_TAGS_MAX = 10
BUCKET_TAGS_MAX = 50
TAG_KEY_CHARS_MAX = 128
TAG_VALUE_CHARS_MAX = 256
PUT_BYTES_MAX = 5 * GIB  # one PUT, one part, one copy
OBJECT_BYTES_MAX = 5 * TIB
PART_NUMBER_MAX = 10_000
PART_BYTES_MIN = 5 * MIB  # every part but the last, checked on completion
LIST_PAGE_MAX = 1000  # keys, versions, uploads or parts in one page; more is cut to this
LIST_BUCKETS_PAGE_MAX = 10_000
DELETE_KEYS_MAX = 1000  # keys of one DeleteObjects
BUCKET_NAME_BYTES_MAX = 63
CORS_RULES_MAX = 100
PRESIGN_SECONDS_DEFAULT = 7 * 86_400  # what Amazon allows
PRESIGN_SECONDS_MAX = 90 * 86_400  # what Tigris allows
CLOCK_SKEW_SECONDS_MAX = 15 * 60  # signed date against ours

# --- the wire: bundles, Tigris' published limits unless said ---
BUNDLE_KEYS_MAX = 5_000
BUNDLE_BYTES_MAX = 50 * GIB  # of its objects together
BUNDLE_REQUEST_BYTES_MAX = 5 * MIB  # the document with the keys
BUNDLE_SECONDS_MAX = 15 * 60  # from the request to the last byte; GRACE_SECONDS is longer
BUNDLES_MAX = 64  # under way in one worker, each holding up to 64 MiB (ours)

# --- the wire: our guards (anchors B4: S6 to S9) ---
HEADER_BYTES_MAX = 16 * KIB  # all names and values together
HEADERS_MAX = 100
URL_BYTES_MAX = 8 * KIB
XML_BYTES_MAX = 2 * MIB  # 10,000 parts with checksums in CompleteMultipartUpload are about 1.8 MiB
XML_DEPTH_MAX = 32
XML_ELEMENTS_MAX = 60_000  # 10,000 parts of five elements, with room
XML_ATTRIBUTES_MAX = 10_000  # of all elements together; a grant of an ACL has two
XML_TAG_BYTES_MAX = 16 * KIB  # with the text behind it; 5 MiB of attributes would take 0.3 s
FORM_FIELD_BYTES_MAX = 20 * KIB
FORM_FIELDS_MAX = 100
FORM_BYTES_MAX = 128 * KIB  # all fields of a form, held before its policy is known; Amazon: 20 KB
STREAMS_MAX = 512  # large responses under way in one worker, each holding up to 4 MiB
AWS_CHUNK_BYTES_MAX = 16 * MIB  # one chunk of an aws-chunked body
UNVERIFIED_DOCUMENTS_MAX = 8  # up to BUNDLE_REQUEST_BYTES_MAX each, read before their signature
AUTH_FAILURES_PER_SECOND = 10  # of one key and address, then they are told to slow down (S17)
BODY_STALL_SECONDS = 20  # a body slower than BODY_RATE_MIN over this long is RequestTimeout
BODY_RATE_MIN = 1 * KIB  # bytes a second

# --- policies: Amazon's published limits unless said ---
POLICY_CHARS_MAX = 6_144  # of an access key's policy; blanks are not counted
SESSION_POLICY_CHARS_MAX = 2_048  # it travels in the token with every request
POLICY_BYTES_MAX = 20 * KIB  # of a bucket's policy, and of any with its blanks
POLICY_STATEMENTS_MAX = 100  # ours: each is looked at when a key is loaded
POLICY_LIST_MAX = 400  # values in one list (ours)
POLICY_CLAUSES_MAX = 50  # operator-key pairs of one statement's Condition (ours)
POLICY_ACTION_WILDCARDS_MAX = 40  # in a document; each is tried on all actions (ours)
POLICY_PATTERN_CHARS_MAX = 2_048  # of one resource or value (ours): 1,024 of a key, and variables
POLICY_PATTERN_STARS_MAX = 16  # `*` and variables in one pattern (ours)
POLICY_FLOATING_MAX = 4  # patterns of a document with a `?` between two `*`: 2 ms each (ours)
POLICY_FLOATING_MARKS_MAX = 16  # `?` in one of those (ours)
POLICY_FLOATING_TEXT_CHARS_MAX = 2_048  # longer text is not compared with one of those (ours)
POLICY_PROBLEMS_MAX = 20  # told at once; then reading stops (ours)

# --- how bytes are stored ---
INLINE_BYTES_MAX = 4 * KIB  # up to here the body lives in the object's own record
PACK_BYTES_MAX = 1 * MIB  # up to here it is appended to a pack
CHUNK_BYTES = 1 * MIB  # one checksum for each
PULL_CHUNK_BYTES = 4 * MIB  # of a large body pulled from another region: a block file for each
FILE_BYTES_MAX = 256 * MIB  # payload of one block file; a pack is sealed at this size
GRACE_SECONDS = 3600  # deleted bytes live on this long, for readers that began before
UPLOAD_EXPIRY_SECONDS = 7 * 86_400  # an abandoned multipart upload is aborted after this
DISK_RESERVE_FRACTION = 0.05  # writes stop when less than this, or DISK_RESERVE_BYTES, is free
DISK_RESERVE_BYTES = 1 * GIB
