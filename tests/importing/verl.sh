set -x
# it's a script: comments may hold an apostrophe
MODEL_PATH=${MODEL_PATH:-Qwen/Qwen3-4B}
max_response_length=$((1024 * 4))
overlong_buffer_len=512
rollout_n=16

if [ "${MACHINE:-}" = gb200 ]; then
    tensor_parallel=4
    EXTRA+=(actor_rollout_ref.rollout.enforce_eager=True)
fi

DATA=(
    algorithm.adv_estimator=grpo
    data.train_files="['/data/math/train.parquet']"
    data.val_files=/data/math/test.parquet
    data.train_batch_size=256
    data.max_response_length=${max_response_length}
    data.truncation='error'
)
python3 -m verl.trainer.main_ppo "${DATA[@]}" \
    actor_rollout_ref.model.path="$MODEL_PATH" \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    actor_rollout_ref.actor.optim.lr_warmup_steps=10 \
    actor_rollout_ref.actor.ppo_mini_batch_size=64 \
    actor_rollout_ref.actor.clip_ratio_high=0.28 \
    actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm \
    actor_rollout_ref.actor.use_kl_loss=True \
    actor_rollout_ref.actor.kl_loss_coef=0.002 \
    actor_rollout_ref.actor.kl_loss_type=low_var_kl+ \
    # actor_rollout_ref.actor.entropy_coeff=0.01 \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=$rollout_n \
    actor_rollout_ref.rollout.tensor_model_parallel_size=$tensor_parallel \
    +reward.reward_kwargs.overlong_buffer_cfg.enable=True \
    +reward.reward_kwargs.overlong_buffer_cfg.len=$overlong_buffer_len \
    +reward.reward_kwargs.overlong_buffer_cfg.penalty_factor=1.0 \
    custom_reward_function.path=rewards/mine.py \
    custom_reward_function.name=score \
    algorithm.rollout_correction.rollout_is=token \
    algorithm.rollout_correction.rollout_is_threshold=2.0 \
    critic.optim.lr=2e-5 \
    trainer.logger='["console","wandb"]' \
    trainer.experiment_name=$RUN_NAME \
    trainer.total_epochs=3 \
    trainer.test_freq=5 "$@"
