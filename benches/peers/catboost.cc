// The model as CatBoost exports it, behind a C interface.
#include MODEL

#include <cstddef>

extern "C" double catboost_score(const float* row, size_t n_inputs) {
    // It takes a vector: its memory is kept.
    static thread_local std::vector<float> features;
    features.assign(row, row + n_inputs);
    return ApplyCatboostModel(features);
}
