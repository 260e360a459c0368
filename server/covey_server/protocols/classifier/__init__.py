"""covey.v1.Classifier. Its protobuf messages stop here."""
