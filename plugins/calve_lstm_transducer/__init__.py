"""The recipe lstm_transducer_stateless2: a streaming LSTM encoder in a transducer."""
