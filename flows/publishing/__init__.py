"""What `kyara publish` puts together: licences, weights in the forms that others load, samples, the model card."""
