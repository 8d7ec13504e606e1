"""The catalogue of measures, the measures of every epoch, and one module per measure on demand."""
